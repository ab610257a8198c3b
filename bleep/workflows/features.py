"""A trunk's features of whole sections, written for other programs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError
from bleep.features import FeatureReader
from bleep.features.ready import write_ready
from bleep.models.factory import build_trunks
from bleep.models.heads import Standardizer
from bleep.outputs import check_output
from bleep.runs import STORES
from bleep.workflows.fit import best_device


def features(config: Config, folder: Path, *, overwrite: bool = False) -> Iterator[tuple[Path, int, int]]:
    """Write the features of every section of a configuration under its trunk, and yield each file, its spots and their width.

    The trunk is as its weights come, so it must be frozen; the files are in TRIDENT's form (see `bleep.features.ready`).

    Raises:
        ConfigError: the trunk is to learn, or shows several windows.
        DataError: a section cannot be read, or a file not be written; or one is there that bleep did not write, and
            `overwrite` is not given.

    """
    if config.image.train != "frozen" or len(config.tiles.microns) != 1:
        what = f"image.train is {config.image.train}" if config.image.train != "frozen" else "tiles.microns has several windows"
        raise ConfigError(f"features are written of a frozen trunk and one window, but {what}")
    # As a new run does, so that random weights are the same as its own.
    torch.manual_seed(config.seed)
    trunk, name = build_trunks(config.image, config.tiles.pixels, 1)
    trunk.to(best_device())
    reader = replace(FeatureReader.to_predict(trunk, Standardizer(trunk.width), config), per_section=False)
    sections = read_sections(config.data, config.cache)
    for section in sections:
        check_output(folder / f"{section.name}.h5", overwrite=overwrite)
    for section in sections:
        found = reader.read(Tiles((section,), TileSpec.of(config.tiles), config.cache / STORES))
        path = folder / f"{section.name}.h5"
        write_ready(path, section, found, config.tiles.microns[0], name)
        yield path, len(found), found.shape[1]
