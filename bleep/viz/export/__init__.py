"""Predictions handed over to other programs: GeoJSON for QuPath, SpatialData for napari and the scverse."""

import contextlib
import json
import logging
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Int
from pandas.api.types import is_numeric_dtype

from bleep.data.readers.annotated import clearly
from bleep.data.slides import Pixels
from bleep.errors import ConfigError, DataError
from bleep.files import whole
from bleep.progress import Progress
from bleep.viz.export.reading import Predicted, opened

__all__ = ["MOST", "Predicted", "opened", "write_geojson", "write_spatialdata"]


log = logging.getLogger(__name__)

MOST = 200
"""Genes that are written where none are named: QuPath holds every measurement of every tile in memory."""
ROWS = 1024
"""Tiles read at a time."""
SUFFIX = ".geojson"
BESIDE = ("distance", "familiarity", "abstain", "label_share")
"""Columns of `obs` that become measurements too, where they are there and hold numbers."""


def write_geojson(predicted: Predicted, out: Path, genes: Sequence[str] = (), *, all_genes: bool = False) -> tuple[Path, ...]:
    """Write the tiles of one section as a file, or of several as a folder with a file for each; return the files.

    Coordinates are level-0 pixels of what QuPath shows: of slides such as MRXS and SCN, whose file states the bounds of what
    was scanned, QuPath shows these alone. Where no genes are named, and there are more than `MOST`, those that vary most are
    written. Of genes that are named, the ends of their intervals are written too, where the prediction has any. Values that
    are no numbers are left out.

    Raises:
        ConfigError: a gene is not there, or the name does not fit.
        DataError: the place is taken, or cannot be written to.

    """
    one = len(predicted.sections) == 1
    if one != (out.suffix.lower() == SUFFIX):
        expected = f"a name ending in {SUFFIX}, for one section" if one else "a folder, for several sections"
        raise ConfigError(f"--geojson {out}: expected {expected}")
    if out.exists():
        raise DataError(f"{out}: is there already; name another place, or remove it")
    columns = predicted.columns(genes)
    if not genes and not all_genes and len(columns) > MOST:
        log.info(
            "%s: the %d genes whose prediction varies most, of %s, since QuPath holds each in memory; name others with "
            "--genes, or ask for all with --all-genes",
            out, MOST, f"{len(columns):,}",
        )  # fmt: skip
        columns = _varied(predicted, MOST)
    names = [out.name] if one else _file_names(predicted.sections)
    with whole(out) as temporary:
        if not one:
            temporary.mkdir(parents=True)
        for section, name in zip(predicted.sections, names, strict=True):
            _write(predicted, section, columns, bool(genes), temporary if one else temporary / name)
    return (out,) if one else tuple(out / name for name in names)


def _varied(predicted: Predicted, most: int) -> Int[np.ndarray, " columns"]:
    """Return the columns of largest variance over all tiles, in the order of the file; memory holds a block at a time."""
    total, squares = np.zeros(len(predicted.genes)), np.zeros(len(predicted.genes))
    rows = len(predicted.obs)
    middle = np.asarray(predicted.values[:ROWS]).mean(axis=0, dtype=np.float64)
    for start in range(0, rows, ROWS):
        apart = np.asarray(predicted.values[start : start + ROWS]).astype(np.float64) - middle
        total += apart.sum(axis=0)
        squares += (apart**2).sum(axis=0)
    variance = np.nan_to_num(squares / rows - (total / rows) ** 2)
    return np.sort(np.argsort(-variance, kind="stable")[:most])


def _file_names(sections: Sequence[str]) -> list[str]:
    names = [re.sub(r"[^\w.-]+", "_", section) for section in sections]
    if len({name.lower() for name in names}) < len(names):
        names = [f"{number}_{name}" for number, name in enumerate(names, 1)]
    return [name + SUFFIX for name in names]


def _write(predicted: Predicted, section: str, columns: Int[np.ndarray, " columns"], intervals: bool, path: Path) -> None:
    """Write the tiles of a section one by one, so that memory does not grow with their number."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number, feature in enumerate(_features(predicted, section, columns, intervals)):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(feature, separators=(",", ":"), allow_nan=False))
        file.write("\n]}\n")


def _features(
    predicted: Predicted, section: str, columns: Int[np.ndarray, " columns"], intervals: bool
) -> Iterator[dict[str, Any]]:
    rows, half, offset = predicted.rows(section), predicted.side(section) / 2, np.array(predicted.offset(section))
    beside = [name for name in BESIDE if name in predicted.obs and is_numeric_dtype(predicted.obs[name])]
    genes = [predicted.genes[column] for column in columns]
    names = [f"{gene} (gene)" if gene in beside else gene for gene in genes]
    tables = {"": predicted.values} | ({f": {end}": found for end, found in predicted.ends.items()} if intervals else {})
    names = [f"{name}{end}" for end in tables for name in names]
    spots = predicted.spots
    noted, labels = predicted.obs[beside].to_numpy(np.float64), predicted.labels
    with Progress(total=len(rows), desc=f"tiles of {section}", unit="tile", leave=False) as bar:
        for start in range(0, len(spots), ROWS):
            here = rows[(rows >= start) & (rows < start + ROWS)]
            if not len(here):
                continue
            block = np.hstack([np.asarray(table[start : start + ROWS])[here - start][:, columns] for table in tables.values()])
            for row, values in zip(here.tolist(), block.astype(np.float64), strict=True):
                measured = [*zip(names, values.tolist(), strict=True), *zip(beside, noted[row].tolist(), strict=True)]
                x, y = (predicted.xy[row] - offset).tolist()
                yield {
                    "type": "Feature",
                    "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{section}/{spots[row]}")),
                    "geometry": {"type": "Polygon", "coordinates": [_square(x, y, half)]},
                    "properties": {
                        "objectType": "tile",
                        "name": spots[row],
                        **({"classification": {"name": labels[row]}} if labels[row] else {}),
                        "measurements": {name: float(f"{value:.6g}") for name, value in measured if np.isfinite(value)},
                    },
                }
            bar.update(len(here))


def _square(x: float, y: float, half: float) -> list[list[float]]:
    """Return the corners, the first again at the end, as RFC 7946 wants a ring."""
    left, right, top, bottom = (round(edge, 2) for edge in (x - half, x + half, y - half, y + half))
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


REGION, INSTANCE = "region", "instance_id"
"""Columns of the table that say which shape a tile is."""


def write_spatialdata(predicted: Predicted, out: Path, genes: Sequence[str] = ()) -> tuple[str, ...]:
    """Write a prediction as a SpatialData store, whole or not at all, and return the names of its elements.

    Each section has its own coordinate system of level-0 pixels, named after it; a single one is "global".

    Raises:
        ConfigError: a gene is not there, or the name does not end in .zarr.
        DataError: the extra `spatialdata` is not installed, or the place is taken or cannot be written to.

    """
    columns = predicted.columns(genes)
    if out.suffix != ".zarr":
        raise ConfigError(f"--spatialdata {out}: expected a name ending in .zarr")
    if out.exists():
        raise DataError(f"{out}: is there already; name another place, or remove it")
    with warnings.catch_warnings():
        # The library, and those it is built on, warn of their own future.
        warnings.simplefilter("ignore")
        try:
            import spatialdata
        except ImportError:
            raise DataError(f"{out}: needs the extra spatialdata: pip install -e '.[spatialdata]' in bleep's clone") from None
        names = _element_names(predicted.sections)
        systems = {section: "global" if len(names) == 1 else name for section, name in names.items()}
        shapes = {f"{names[section]}_tiles": _squares(predicted, section, systems[section]) for section in names}
        pictures = {section: found for section in names if (found := predicted.picture(section)) is not None}
        images = {f"{names[section]}_image": _image(*found, systems[section]) for section, found in pictures.items()}
        table = _table(predicted, columns, {section: f"{name}_tiles" for section, name in names.items()})
        tables = {"table": table}
        with _accepted(predicted.path):
            held = spatialdata.SpatialData(images=images, shapes=shapes, tables=tables)
        with whole(out) as temporary, _accepted(predicted.path):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            held.write(temporary)
    return (*images, *shapes, *tables)


@contextlib.contextmanager
def _accepted(path: Path) -> Iterator[None]:
    """Say in one sentence what the library does not accept of a table, such as the names of its columns."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        why = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: SpatialData does not take it ({why}); rename or remove that, and export again") from None


def _element_names(sections: Sequence[str]) -> dict[str, str]:
    """Return names as the library allows them: letters, digits, dots, hyphens and underscores, unlike but for their case."""
    names = [re.sub(r"[^A-Za-z0-9.-]+", "_", section).strip("_.") or "section" for section in sections]
    if len({name.lower() for name in names}) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names, 1)]
    return dict(zip(sections, names, strict=True))


def _squares(predicted: Predicted, section: str, system: str) -> Any:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    rows, half = predicted.rows(section), predicted.side(section) / 2
    x, y = predicted.xy[rows].T
    frame = geopandas.GeoDataFrame(geometry=shapely.box(x - half, y - half, x + half, y + half), index=pd.Index(rows))
    return ShapesModel.parse(frame, transformations={system: Identity()})


def _image(picture: Pixels, scale: float, system: str) -> Any:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    moved = {system: Scale([1 / scale, 1 / scale], axes=("x", "y"))}
    pixels = np.moveaxis(picture, -1, 0)
    return Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=moved)


def _table(predicted: Predicted, columns: np.ndarray, regions: dict[str, str]) -> Any:
    """Return the prediction as the table of its squares; the pictures are elements of their own."""
    from spatialdata.models import TableModel

    read = anndata.read_h5ad if predicted.path.suffix == ".h5ad" else anndata.read_zarr
    with clearly(predicted.path, "an AnnData"):
        data = read(predicted.path)[:, columns].copy()
    data.uns.pop("spatial", None)
    sections = data.obs["section"].astype(str)
    data.obs[REGION] = pd.Categorical(sections.map(regions))
    data.obs[INSTANCE] = np.arange(len(data))
    with _accepted(predicted.path):
        return TableModel.parse(data, region=list(regions.values()), region_key=REGION, instance_key=INSTANCE)
