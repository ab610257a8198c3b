"""Which form the files have that a query names, and what a reader of another package makes of them."""

from pathlib import Path

from bleep.config import DataConfig
from bleep.data.readers import SOURCES, read_sections
from bleep.data.readers.folder import SUFFIXES
from bleep.data.readers.forms import form_of
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.find import inside


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
