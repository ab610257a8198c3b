"""The forms tissue comes in: each reader returns checked sections."""

import importlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bleep import registry
from bleep.config import DataConfig
from bleep.data.readers.place import check_own_pictures
from bleep.data.readers.tables import read_table
from bleep.data.section import Section, without_spots
from bleep.data.slides import ArraySlide, MosaicSlide, PatchSlide, PictureSlide, PyramidSlide, Slide
from bleep.data.slides.pyramid import can_copy, tiled
from bleep.errors import BleepError, DataError
from bleep.find import below, fits

DECODED = 400_000_000
"""Pixels of all pictures together that are held decoded, three bytes each."""
LARGE = 16_000_000
"""Where they are more, a picture of at least this many gets a tiled copy."""

log = logging.getLogger(__name__)

SOURCES: Mapping[str, str] = {
    "folder": "bleep.data.readers.folder",
    "her2st": "bleep.data.readers.her2st",
    "st2k": "bleep.data.readers.st2k",
    "visium": "bleep.data.readers.visium",
    "segmented": "bleep.data.readers.segmented",
    "xenium": "bleep.data.readers.xenium",
    "h5ad": "bleep.data.readers.h5ad",
    "hest": "bleep.data.readers.hest",
    "spatialdata": "bleep.data.readers.spatialdata",
    "liver": "bleep.data.readers.liver",
    "wsi": "bleep.data.readers.wsi",
    "patches": "bleep.data.readers.patches",
    "toy": "bleep.data.toy",
}
"""Module of each form; it has `read(data: DataConfig) -> tuple[Section, ...]`."""

MARKS: Mapping[str, tuple[str, ...]] = {
    "her2st": ("*_selection.tsv", "*spot_data-selection-*.tsv", "*spot_data-selection-*.tsv.gz"),
    "st2k": ("alignment_table_*.tsv",),
    "visium": ("*scalefactors_json.json*",),
    "segmented": ("*cell_segmentations.geojson*",),
    "xenium": ("*experiment.xenium",),
    "h5ad": ("*.h5ad",),
    "hest": ("st/*.h5ad",),
    "spatialdata": ("*.zarr",),
    "liver": ("tissue_positions_list_*.csv",),
    "patches": ("*_idx*_x*_y*_class*.*", "SOB_[BM]_*-*-*.*", "X.npy"),
}
"""Files by which a folder of whole sections is told from a folder of tiles; some forms are such a file themselves."""

NEAR: Mapping[str, tuple[str, ...]] = {
    "visium": ("tissue_positions", "tissue_hires_image"),
    "st2k": ("spot_data",),
    "segmented": ("filtered_feature_cell_matrix",),
    "xenium": ("cells.", "cell_feature_matrix"),
}
"""Beginnings of the names of files of a form that are of no use without its mark."""


def has_form(root: Path, source: str) -> bool:
    """Return whether a place holds whole sections of this form."""
    marks = MARKS.get(source, ())
    return fits(root, marks) or (bool(marks) and any(fits(path.relative_to(root), marks) for path in below(root)))


def read_sections(
    data: DataConfig, cache: Path | None = None, *, purpose: Literal["training", "query", "check"] = "training"
) -> tuple[Section, ...]:
    """Read the sections a configuration asks for, in the order it names them.

    Pictures too large to be held decoded get a tiled copy below `cache`; none: they are decoded whole all the same. A query
    needs no expression: values that cannot be used are left out then, aloud, and refused otherwise; and copies of a
    picture harm none, while training is told of them. A check finds these by itself: see `copied_picture`.

    Raises:
        DataError: the root is missing, a section is not there, or a file is damaged or contradicts another.
        ConfigError: a spot that `data.drop` names is not there.

    """
    if data.source != "toy" and not data.root.exists():
        what = "a slide, or a folder of slides," if data.source == "wsi" else f"the {data.source} files"
        raise DataError(
            f"{data.root}: no such file or folder; expected {what} there: correct data.root, or the flag that names it; "
            "a trained run has its data.root in its config.yaml"
        )
    ours = data.source in SOURCES
    found = importlib.import_module(SOURCES[data.source]).read(data) if ours else _by_another(data)
    sections = tuple(found) if isinstance(found, Iterable) else ()
    odd = next((section for section in sections if not isinstance(section, Section)), None)
    if odd is not None or not sections:
        given = (
            "nothing" if isinstance(found, Iterable) and odd is None else f"a {type(found if odd is None else odd).__name__}"
        )
        raise DataError(f"{data.root}: the reader {data.source} gave {given}; expected a sequence of bleep.Section")
    twice = [name for name, count in Counter(section.name for section in sections).items() if count > 1]
    if twice:
        raise DataError(f"{data.root}: section {twice[0]!r} is found more than once; each name must stand for one section")
    species = {section.species for section in sections}
    if len(species) > 1:
        raise DataError(f"{data.root}: sections of several species ({', '.join(sorted(species))}); read one species at a time")
    # One picture, or one ready-cut tile, for two sections, whatever the form; a store's regions are its reader's.
    check_own_pictures((section.name, path) for section in sections for path in _files(section.slide))
    if purpose == "training" and (told := copied_picture(sections)[0]):
        # Several capture areas may lie on one picture, each folder with its copy.
        log.warning("%s", told)
    for section in sections:
        check_values(section, to_query=purpose == "query")
    if data.annotations is not None:
        sections = with_annotations(sections, data.annotations)
    kept = without_spots(sections, data)
    return by_region(kept, cache) if cache is not None else kept


def _by_another(data: DataConfig) -> object:
    """Return what a reader of another package gives.

    Raises:
        DataError: it fails.

    """
    read = registry.load("readers", data.source)
    try:
        found = read(data)
        return tuple(found) if isinstance(found, Iterable) else found
    except (BleepError, MemoryError):
        raise
    except Exception as error:  # whatever another's reader raises
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        package = registry.origin("readers", data.source).package
        raise DataError(f"{data.root}: the reader {data.source} of {package} failed ({said}); mend it, or the files") from error


def check_values(section: Section, *, to_query: bool) -> None:
    """Refuse a section whose values cannot be used; for a query say that they are left out.

    Raises:
        DataError: see above.

    """
    facts = section.counts.uns.get("bleep", {})
    if facts.get("refused") and to_query:
        log.warning("section %s: is queried without its expression (%s)", section.name, facts["nothing"])
    elif facts.get("refused"):
        raise DataError(facts["nothing"])


def copied_picture(sections: Sequence[Section]) -> tuple[str, tuple[str, ...]]:
    """Return in words which whole picture two sections hold, each in a file of its own, and their names; empty: none."""
    # Ready-cut tiles may look alike, as glass does: `bleep data check` tells of those.
    whole = [section for section in sections if not isinstance(section.slide, MosaicSlide | PatchSlide)]
    bulks = Counter(_bulk(section.slide) for section in whole)
    first: dict[str, Section] = {}
    for section in (section for section in whole if bulks[_bulk(section.slide)] > 1):
        other = first.setdefault(section.slide.digest(), section)
        # Regions that lie apart in one image of a store share it.
        shared = not isinstance(section.slide, ArraySlide) and section.slide == other.slide
        if other is not section and not shared:
            copy, of = (next(iter(map(str, _files(one.slide))), f"the picture of {one.name}") for one in (section, other))
            told = (
                f"{copy} is the same picture for sections {other.name!r} and {section.name!r}, a copy of {of}; give each its "
                "own, unless their spots lie on different pieces of it"
            )
            return told, (other.name, section.name)
    return "", ()


def _bulk(slide: Slide) -> tuple[str, int, int]:
    """Return what two copies of a picture have in common, and next to no others; it is known without reading them."""
    files = [path.stat().st_size for path in _files(slide) if path.is_file()]
    return (type(slide).__name__, *slide.size) if not files else ("file", len(files), sum(files))


def _files(slide: Slide) -> tuple[Path, ...]:
    if isinstance(slide, MosaicSlide | PatchSlide):
        return slide.paths
    return (slide.path,) if isinstance(slide, PictureSlide | PyramidSlide) else ()


def by_region(sections: tuple[Section, ...], cache: Path) -> tuple[Section, ...]:
    """Where all pictures together are too large to be held decoded, let each large one be read from a tiled copy."""
    pixels = {s.slide.path: s.slide.size[0] * s.slide.size[1] for s in sections if isinstance(s.slide, PictureSlide)}
    if sum(pixels.values()) <= DECODED:
        return sections
    if not can_copy():
        log.warning(
            "the pictures take %.1f GB of memory once decoded; with the extra wsi they are read by region: "
            "pip install -e '.[wsi]' in bleep's clone",
            3e-9 * sum(pixels.values()),
        )
        return sections
    copied = {path: count >= LARGE for path, count in pixels.items()}
    return tuple(
        replace(section, slide=tiled(section.slide, cache / "slides"))
        if isinstance(section.slide, PictureSlide) and copied[section.slide.path]
        else section
        for section in sections
    )


def chosen_names(found: list[str], data: DataConfig) -> list[str]:
    """Return the names asked for, checked against those found; all of them when none is asked for.

    Raises:
        DataError: nothing was found, or a name asked for was not.

    """
    if not found:
        raise DataError(_nothing(data))
    missing = [name for name in data.sections if name not in found]
    if missing:
        raise DataError(f"{data.root}: has no section {missing[0]!r}; found {', '.join(sorted(found))}")
    return list(data.sections) or sorted(found)


def _nothing(data: DataConfig) -> str:
    """Return what was looked for, what is there instead, and what is missing."""
    paths = list(below(data.root))
    files = sorted({path.name for path in paths if path.suffix == ".zarr" or not path.is_dir()})
    shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "") if files else "no file"
    lacking = not has_form(data.root, data.source)
    near = [name for name in files if lacking and name.startswith(NEAR.get(data.source, ()))]
    lacks = f"; beside {near[0]} the file {MARKS[data.source][0].strip('*')} is missing" if near else ""
    other = next((form for form in SOURCES if form != data.source and has_form(data.root, form)), None)
    like = f"; there are files as of the form {other}" if other is not None and not near else ""
    wanted = " or ".join(MARKS.get(data.source, ("its files",)))
    return (
        f"{data.root}: no section of the form {data.source} is there: looked for {wanted} at any "
        f"depth, found {shown}{lacks}{like}; docs/reference/files lists what each form consists of"
    )


SECTION, SPOT = ("section", "sample"), ("spot", "barcode")
"""Headings, in small letters, of the columns that say which spot a row is of; Loupe Browser writes `Barcode`."""


def with_annotations(sections: tuple[Section, ...], path: Path) -> tuple[Section, ...]:
    """Return the sections with the further columns of a table of spots in their `obs`, as text, empty where it has no row.

    The table is a .csv, or a .tsv, of one row a spot: the spot's name, the section's where several are read, and labels.

    Raises:
        DataError: the file is no such table, names no spot of a section that it names, names one twice, or has a column that
            the section's own files have already.

    """
    table = read_table(path, "\t" if path.suffix.lower() in (".tsv", ".txt") else ",", dtype=str)
    spot, section = (_column(table, names) for names in (SPOT, SECTION))
    labels = [name for name in table.columns.astype(str) if name not in (spot, section)]
    if spot is None or not labels:
        raise DataError(
            f"{path}: has the columns {', '.join(map(str, table.columns))}; expected spot or Barcode, section where there are "
            "several, and a column of labels beside them"
        )
    if section is None and len(sections) > 1:
        raise DataError(f"{path}: does not say of which section a spot is, and {len(sections)} are read; add a column section")
    names = pd.Series(sections[0].name, table.index) if section is None else table[section].str.strip()
    table = table.assign(**{spot: table[spot].str.strip()})
    return tuple(_annotated(one, table[names == one.name].set_index(spot)[labels], path) for one in sections)


def _column(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((column for column in table.columns.astype(str) if column.strip().lower() in names), None)


def _annotated(section: Section, rows: pd.DataFrame, path: Path) -> Section:
    """Return a section with the labels of its spots."""
    clash = [name for name in rows if name in section.counts.obs]
    if clash:
        raise DataError(f"{path}: has a column {clash[0]!r}, which section {section.name} has already; call it otherwise")
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()][0]
        raise DataError(f"{path}: names spot {twice!r} of section {section.name} twice; expected one row a spot")
    spots = section.counts.obs_names.astype(str)
    found = int(spots.isin(rows.index).sum())
    if len(rows) and not found:
        raise DataError(
            f"{path}: names no spot of section {section.name}: it has such as {str(rows.index[0])[:40]!r}, the section such as "
            f"{spots[0]!r}; write the spots as the section's files do"
        )
    level = logging.INFO if found == len(spots) else logging.WARNING
    log.log(level, "section %s: %s has a row for %d of its %d spots", section.name, path.name, found, len(spots))
    counts = section.counts.copy()
    for name in rows:
        counts.obs[str(name)] = rows[name].reindex(spots).fillna("").to_numpy(np.str_)
    return replace(section, counts=counts)
