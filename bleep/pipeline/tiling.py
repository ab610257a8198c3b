"""From a configuration to tiles kept on disk, so that training and querying read them at the speed of memory."""

import shutil
from collections.abc import Iterator
from typing import NamedTuple

from tqdm import tqdm

from bleep.errors import DataError
from bleep.runs import STORES
from bleep.settings import Config
from bleep.tissue import store
from bleep.tissue.cutting import TileSpec
from bleep.tissue.sources import read_sections


class Tiled(NamedTuple):
    """One section whose tiles are kept."""

    section: str
    tiles: int
    bytes: int
    before: bool
    """They were all there already."""


def tile(config: Config) -> Iterator[Tiled]:
    """Keep the tiles of every section of a configuration below `config.cache`, and yield each as it is done.

    Whatever reads tiles of the same picture under the same spec then finds them there. A stopped run goes on where it was.

    Raises:
        DataError: a section cannot be read, or there is no room for its tiles.

    """
    spec, root = TileSpec.of(config.tiles), config.cache / STORES
    for section in read_sections(config.data, config.cache):
        size = len(section) * len(spec.microns) * 3 * spec.pixels**2
        found = store.find(root, section, spec)
        if found is not None and (found.rows >= 0).all():
            yield Tiled(section.name, len(section), size, before=True)
            continue
        _check_room(config, section.name, size)
        with tqdm(total=len(section), desc=f"tiles of {section.name}", unit="tile", leave=False) as bar:
            for done in store.write(root, section, spec):
                bar.update(done - bar.n)
        yield Tiled(section.name, len(section), size, before=False)


def _check_room(config: Config, name: str, size: int) -> None:
    config.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(config.cache).free
    if free < size * 1.05:
        raise DataError(
            f"{config.cache}: the tiles of section {name} take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; "
            "set cache to a larger disk, or tiles.pixels lower"
        )
