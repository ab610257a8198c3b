"""Which form the files of a folder have, and the file that shows it."""

from collections.abc import Iterator
from pathlib import Path

from bleep.config import SourceName
from bleep.data.readers import MARKS
from bleep.data.readers.patches import columns_of, has_patches
from bleep.errors import DataError
from bleep.find import fits, inside
from bleep.marks import is_prediction

SCANNED = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
PATCHES = (*PICTURES, ".npy")
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
DEEP = 6
"""Folders below the given one that are looked into: samples of Visium HD have their scale factors in the fifth."""
APART: tuple[SourceName, ...] = ("xenium", "visium", "h5ad", "her2st", "st2k")
"""Forms of measured tissue that are told where another is read, but for HEST's own h5ad."""


def form_of(folder: Path) -> tuple[SourceName, str]:
    """Return the form of the files in a folder, or of one file, and the file that shows it.

    Raises:
        DataError: no form is recognised.

    """
    files = [folder] if folder.is_file() else sorted(_files(folder, DEEP), key=lambda path: (len(path.parts), path))
    predicted = [path for path in files if folder.is_dir() and path.suffix == ".h5ad" and is_prediction(path)]
    files = [path for path in files if path not in predicted]
    names = {path: path.name.lower() for path in files}

    def first(*ends: str) -> Path | None:
        return next((path for path, name in names.items() if name.endswith(ends)), None)

    outlines = first("cell_segmentations.geojson", "cell_segmentations.geojson.gz")
    # Cells of Visium HD have scale factors too, and no table of positions beside them.
    placed = {path.parent for path, name in names.items() if "tissue_positions" in name}
    scales = [path for path, name in names.items() if name.endswith(("scalefactors_json.json", "scalefactors_json.json.gz"))]
    visium = next((path for path in scales if path.parent in placed or outlines is None), None)
    stores = [path for path in ([folder] if folder.is_dir() else []) + _folders(folder, 1) if _is_spatialdata(path)]
    stores = [path for path in stores if path == folder or not is_prediction(path)]
    hest = folder / "st" if (folder / "wsis").is_dir() else folder / "-"
    checks: list[tuple[SourceName, Path | None]] = [
        ("spatialdata", stores[0] if stores else None),
        ("hest", hest if hest.is_dir() else None),
        ("liver", folder / "filtered_expression_matrices" if (folder / "filtered_expression_matrices").is_dir() else None),
        ("xenium", first("experiment.xenium")),
        ("visium", visium),
        ("segmented", outlines),
        ("h5ad", first(".h5ad")),
        ("her2st", next((path for path in files if fits(path, MARKS["her2st"])), None)),
        ("st2k", next((path for path, name in names.items() if name.startswith("alignment_table_")), None)),
        ("folder", next((path for path, name in names.items() if name.endswith(".csv") and _is_table(path)), None)),
        ("patches", next((path for path in files if path.suffix.lower() in PATCHES and fits(path, MARKS["patches"])), None)),
        ("patches", folder if folder.is_file() and has_patches(folder) else None),
    ]
    there = [(source, shown.relative_to(folder) if shown != folder else Path(shown.name)) for source, shown in checks if shown]
    if there:
        source, shown = there[0]
        others = [f"{path} ({form})" for form, path in there[1:] if form in APART and source != "hest"]
        return source, f"{shown} is there" + (f"; also there, and not read: {', '.join(others)}" if others else "")
    if predicted:
        raise DataError(f"{predicted[0]}: is a prediction of bleep, not measured tissue; name a folder with measured counts")
    if first(*SCANNED) or first(*PICTURES):
        raise DataError(
            f"{folder}: holds pictures but no measured values: nothing to train on; predict them by `bleep query`, or where "
            "folders are classes of patches say --data.source patches"
        )
    if packed := first(*PACKED):
        raise DataError(f"{packed}: is an archive, which is not looked into; unpack it, and name the folder it gives")
    raise DataError(f"{folder}: no known form of tissue found; docs/how-to/own-data lists them, or name one by --data.source")


def _files(folder: Path, deep: int) -> Iterator[Path]:
    for path in inside(folder):
        if path.is_dir() and path.suffix != ".zarr" and deep:
            yield from _files(path, deep - 1)
        elif path.is_file():
            yield path


def _folders(folder: Path, deep: int) -> list[Path]:
    return [path for path in inside(folder) if path.is_dir()] if folder.is_dir() and deep else []


def _is_spatialdata(path: Path) -> bool:
    return any((path / part).is_dir() for part in ("tables", "table")) and (path / "images").is_dir()


def _is_table(path: Path) -> bool:
    """Return whether a CSV names tiles and genes."""
    columns = columns_of(path)
    return {"ID", "path"} <= columns and not columns <= {"ID", "path", "section", "patient"}
