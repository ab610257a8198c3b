"""Predictions as a SpatialData store: squares, the table that annotates them, a picture (extra `spatialdata`)."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from bleep.data.readers.annotated import clearly
from bleep.data.slides import Pixels
from bleep.errors import ConfigError, DataError
from bleep.files import whole
from bleep.viz.export.reading import Predicted

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
