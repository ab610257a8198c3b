"""Which form the files have that a query names, how they are read, and what a reader of another package makes of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bleep.config import Config, DataConfig
from bleep.data.readers import SOURCES, read_sections
from bleep.data.readers.folder import SUFFIXES
from bleep.data.readers.forms import form_of
from bleep.data.section import Section
from bleep.errors import ConfigError, DataError
from bleep.find import inside
from bleep.runs import Run

READING = (
    "source", "sections", "image_scale", "alignment", "layer", "raw", "bin", "element", "table", "system", "options", "mpp",
)  # fmt: skip
"""Settings of `data` that say how files are read, and can be other ones for files that were not there in training."""


def reading_of(run: Run, given: Mapping[str, Any] | None) -> DataConfig:
    """Return the run's settings of `data` with those `given` in their place; of another form, what holds of any form alone.

    Raises:
        ConfigError: one of them does not say how files are read, or has a value that it cannot have.

    """
    asked, data = dict(given or {}), run.config.data
    for name in asked:
        if name not in READING:
            raise ConfigError(f"data.{name}: does not say how files are read; expected {', '.join(READING)}")
    checked = Config.load(run.config.dump(), {"data": asked}).data
    if "source" in asked and checked.source == "wsi":
        raise ConfigError("data.source wsi: whole slides are no sections; give them with --slides")
    if checked.source not in (data.source, "folder"):
        # What was said of the run's own form, such as its scale and its picture, is not true of another.
        data = DataConfig(species=data.species, pixel_limit=data.pixel_limit)
    return data.model_copy(update={name: getattr(checked, name) for name in asked})


def by_another_reader(data: DataConfig, cache: Path, *, slides: bool) -> tuple[Section, ...]:
    """Return what the run's reader makes of `data.root`, where that reader is of another package; nothing: it refuses it.

    Only by reading can it be told whether files are of its form.

    Raises:
        DataError: it refuses them, and neither are they tiles, slides or of a form that bleep knows.

    """
    if data.source in SOURCES:
        return ()
    try:
        return read_sections(data, cache, purpose="query")
    except DataError:
        if form_asked(data.root, slides=slides) == "folder" and not (slides or _holds_tiles(data.root)):
            raise
        return ()


def form_asked(path: Path, *, slides: bool) -> str:
    """Return the form that a place not of the run's own is read in: `folder` where it holds tiles, or nothing that is known."""
    tiles = slides or (path.is_dir() and _holds_tiles(path))
    try:
        found = "folder" if path.suffix.lower() == ".csv" else form_of(path)[0]
    except DataError:
        return "folder"
    # An AnnData among tiles or slides does not make them another form.
    return "folder" if found in ("folder", "patches") or (tiles and found in ("h5ad", "spatialdata")) else found


def _holds_tiles(path: Path) -> bool:
    return any(each.suffix.lower() in (".csv", *SUFFIXES) for each in (inside(path) if path.is_dir() else [path]))
