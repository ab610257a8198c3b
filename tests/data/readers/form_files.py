"""One small tissue written in the form of every reader of sections, by what the makers' own software writes.

Test modules load this one by `runpy.run_path`, as it lies in no package.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import tifffile
from anndata import AnnData
from PIL import Image
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide, PatchSlide, PyramidSlide

RGB = np.random.default_rng(0).integers(120, 200, (240, 260, 3)).astype(np.uint8)
SYMBOLS = [f"GENE{number}" for number in range(8)]
IDS = [f"ENSG{number:011d}" for number in range(8)]


@dataclass(frozen=True)
class Tissue:
    """One section before it is written in a form; the array is Visium's, 20 pixels from spot to spot."""

    spots: pd.DataFrame
    counts: np.ndarray
    picture: np.ndarray = field(default_factory=RGB.copy)


def tissue() -> Tissue:
    rows = [(r, 2 * c + r % 2, 30.0 + 20 * c + 10 * (r % 2), 30.0 + r * 20 * 0.75**0.5) for r in range(10) for c in range(10)]
    spots = pd.DataFrame(rows, columns=["array_row", "array_col", "x", "y"]).assign(used=1)
    spots.index = pd.Index(
        [f"{'ACGT'[n % 4] * 9}{'ACGT'[n // 4 % 4] * 4}{'ACGT'[n // 16 % 4]}{'ACGT'[n // 64]}A-1" for n in range(100)]
    )
    return Tissue(spots, np.random.default_rng(1).poisson(5, (100, 8)) + 1)


def frame(of: Tissue) -> AnnData:
    spots = of.spots
    return AnnData(
        X=sparse.csr_matrix(of.counts.astype(np.float32)),
        obs=spots[["array_row", "array_col"]].assign(in_tissue=spots["used"]),
        var=pd.DataFrame({"gene_ids": IDS}, index=SYMBOLS),
        obsm={"spatial": spots[["x", "y"]].to_numpy(np.float64)},
    )


def positions(of: Tissue) -> pd.DataFrame:
    spots = of.spots
    columns = {"barcode": spots.index, "in_tissue": spots["used"], "array_row": spots["array_row"]}
    return pd.DataFrame(
        {**columns, "array_col": spots["array_col"], "pxl_row_in_fullres": spots["y"], "pxl_col_in_fullres": spots["x"]}
    )


def write_h5(of: Tissue, path: Path, kinds: dict[str, str] | None = None) -> None:
    """Write counts as Space Ranger and Xenium do: genes, then features of the other kinds, ten counts in each cell."""
    others = kinds or {}
    table = sparse.csr_matrix(np.hstack([of.counts, np.full((len(of.counts), len(others)), 10)]))
    features = {
        "id": [*IDS, *others],
        "name": [*SYMBOLS, *others],
        "feature_type": ["Gene Expression"] * 8 + list(others.values()),
        "genome": ["GRCh38"] * (8 + len(others)),
    }
    with h5py.File(path, "w") as file:
        part = file.create_group("matrix")
        part["data"], part["indices"], part["indptr"] = table.data, table.indices, table.indptr
        part["shape"], part["barcodes"] = np.array(table.shape[::-1]), np.array(list(of.spots.index), dtype="S")
        for key, values in features.items():
            part[f"features/{key}"] = np.array(values, dtype="S")


def visium(of: Tissue, root: Path, name: str = "s1") -> Path:
    spatial = root / name / "spatial"
    spatial.mkdir(parents=True)
    positions(of).to_csv(spatial / "tissue_positions.csv", index=False)
    Image.fromarray(of.picture).save(spatial / "tissue_hires_image.png")
    (spatial / "scalefactors_json.json").write_text(json.dumps({"tissue_hires_scalef": 1.0}))
    write_h5(of, root / name / "filtered_feature_bc_matrix.h5")
    return root


FACTORS = {
    "microns_per_pixel": 5.0,
    "tissue_lowres_scalef": 0.1,
    "fiducial_diameter_fullres": 20.95,
    "tissue_hires_scalef": 1.0,
}
"""What Space Ranger 4 writes beside cells: no diameter of a spot."""


def numbered(of: Tissue, form: str) -> Tissue:
    """Call spots as cells of Space Ranger 4 or of Xenium, with the ending of the barcode they had."""
    names = [(number, name.rpartition("-")[2]) for number, name in enumerate(of.spots.index)]
    if form == "segmented":
        called = [f"cellid_{number + 1:09d}-{end}" for number, end in names]
    else:
        called = ["aaaaa" + "".join("abcdefghij"[int(digit)] for digit in f"{number:03d}") + f"-{end}" for number, end in names]
    return replace(of, spots=of.spots.set_axis(pd.Index(called)))


def outline(x: float, y: float) -> list[list[float]]:
    """A pentagon around a place, its corners far from evenly spread, closed as GeoJSON wants."""
    corners = [(-5.0, -4.0), (5.0, -4.0), (5.0, 4.0), (4.0, 4.0), (-5.0, 4.0)]
    return [[x + a, y + b] for a, b in [*corners, corners[0]]]


def segmented(of: Tissue, root: Path, name: str = "s1") -> Path:
    of, folder = numbered(of, "segmented"), root / name / "outs" / "segmented_outputs"
    (folder / "spatial").mkdir(parents=True)
    cells = [(int(cell[7:16]), outline(x, y)) for cell, x, y in zip(of.spots.index, of.spots["x"], of.spots["y"], strict=True)]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"cell_id": cell}}
        for cell, ring in cells
    ]
    tree = {"type": "FeatureCollection", "features": features}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(tree))
    Image.fromarray(of.picture).save(folder / "spatial" / "tissue_hires_image.png")
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(FACTORS))
    write_h5(of, folder / "filtered_feature_cell_matrix.h5")
    return root


MATRIX = np.array([[0.0, 20.0, 300.0], [-20.0, 0.0, 6000.0], [0.0, 0.0, 1.0]])
"""From pixels of the H&E picture, turned by 90 degrees, to Xenium's, which are 0.25 microns wide: 5 microns each."""
EXPERIMENT = {
    "major_version": 5, "minor_version": 1, "run_name": "run", "region_name": "Region_1", "num_cells": 100, "pixel_size": 0.25,
    "analysis_sw_version": "xenium-3.1.0.4", "panel_organism": "Human", "images": {"morphology_filepath": "morphology.ome.tif"},
}  # fmt: skip
CONTROLS = {"NegControlProbe_00042": "Negative Control Probe", "NegControlCodeword_0500": "Negative Control Codeword",
            "UnassignedCodeword_0001": "Unassigned Codeword", "DeprecatedCodeword_0003": "Deprecated Codeword"}  # fmt: skip


def microns(xy: np.ndarray, matrix: np.ndarray = MATRIX, pixel: float = 0.25) -> np.ndarray:
    """Return where places on the H&E picture lie for Xenium."""
    return (np.column_stack([xy, np.ones(len(xy))]) @ matrix.T)[:, :2] * pixel


def write_ome(picture: np.ndarray, path: Path) -> None:
    """Write a pyramid as OME-TIFF, tiled, as the H&E pictures that 10x hands out."""
    options: Any = {"extrasamples": ["unassalpha"]} if picture.shape[2] == 4 else {}
    common: Any = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", **options}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(picture, subifds=1, metadata={"axes": "YXS"}, **common)
        file.write(picture[::2, ::2], subfiletype=1, metadata=None, **common)


def xenium(of: Tissue, root: Path, name: str = "s1") -> Path:
    of, folder = numbered(of, "xenium"), root / f"{name}_outs"
    folder.mkdir(parents=True)
    (folder / "experiment.xenium").write_text(json.dumps(EXPERIMENT))
    x, y = microns(of.spots[["x", "y"]].to_numpy(np.float64)).T
    columns = {"cell_id": of.spots.index, "x_centroid": x, "y_centroid": y, "transcript_counts": of.counts.sum(axis=1)}
    pd.DataFrame({**columns, "control_probe_counts": 10, "cell_area": 50.0, "nucleus_area": 20.0}).to_parquet(
        folder / "cells.parquet", index=False
    )
    write_h5(of, folder / "cell_feature_matrix.h5", CONTROLS)
    write_ome(of.picture, root / f"{name}_he_image.ome.tif")
    np.savetxt(root / f"{name}_he_imagealignment.csv", MATRIX, delimiter=",")
    return root


def h5ad(of: Tissue, root: Path, name: str = "s1") -> Path:
    data = frame(of)
    data.uns["spatial"] = {"V1": {"images": {"hires": of.picture}, "scalefactors": {"tissue_hires_scalef": 1.0}}}
    (root / "in").mkdir(parents=True, exist_ok=True)
    data.write_h5ad(root / "in" / f"{name}.h5ad")
    return root


def spatialdata(of: Tissue, root: Path, name: str = "s1") -> Path:
    return write_store(of, root, name, ("spots",))


def write_store(of: Tissue, root: Path, name: str, regions: tuple[str, ...]) -> Path:
    """Write a store with the same spots in each of some regions, all on one image."""
    with warnings.catch_warnings():
        # The library, and those it is built on, warn of their own future while they are loaded.
        warnings.simplefilter("ignore")
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel, ShapesModel, TableModel

        parts = [frame(of) for _ in regions]
        for part, region in zip(parts, regions, strict=True):
            part.obs["region"], part.obs["instance_id"] = region, np.arange(len(part))
            part.obs_names = part.obs_names + ("" if region == regions[0] else f"-{region}")
        table = anndata.concat(parts, merge="same")
        table.obs["region"] = table.obs["region"].astype("category")
        xy = of.spots[["x", "y"]].to_numpy(np.float64)
        shapes = {region: ShapesModel.parse(xy, geometry=0, radius=4.0) for region in regions}
        pixels = np.moveaxis(of.picture, 2, 0)
        channels = ["r", "g", "b", "a"][: len(pixels)]
        image = Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=channels, chunks={"c": len(pixels), "y": 64, "x": 64})
        tables = {"table": TableModel.parse(table, region=list(regions), region_key="region", instance_key="instance_id")}
        root.mkdir(parents=True, exist_ok=True)
        SpatialData(images={"he": image}, shapes=shapes, tables=tables).write(root / f"{name}.zarr")
    return root


def legacy(of: Tissue, folder: Path, table: str, name: str = "s1") -> None:
    spots = of.spots
    folder.mkdir(parents=True)
    names = [f"{x}x{y}" for x, y in zip(spots["array_col"], spots["array_row"], strict=True)]
    pd.DataFrame(of.counts, names, SYMBOLS).to_csv(folder / f"{name}.tsv.gz", sep="\t")
    columns = {"x": spots["array_col"], "y": spots["array_row"], "pixel_x": spots["x"], "pixel_y": spots["y"]}
    pd.DataFrame({**columns, "selected": spots["used"]}).to_csv(folder / table, sep="\t", index=False)
    Image.fromarray(of.picture).save(folder / f"{name}.jpg", quality=95)


def her2st(of: Tissue, root: Path, name: str = "s1") -> Path:
    legacy(of, root / name, f"{name}_selection.tsv", name)
    return root


def st2k(of: Tissue, root: Path, name: str = "s1") -> Path:
    legacy(of, root / name, f"alignment_table_{name}.tsv", name)
    return root


def hest(of: Tissue, root: Path, name: str = "s1") -> Path:
    for folder in ("st", "wsis", "metadata"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    frame(of).write_h5ad(root / "st" / f"{name}.h5ad")
    options: Any = {"extrasamples": ["unassalpha"]} if of.picture.shape[2] == 4 else {}
    tifffile.imwrite(root / "wsis" / f"{name}.tif", of.picture, tile=(128, 128), photometric="rgb", **options)
    facts = {"pixel_size_um_estimated": 5.0, "species": "Homo sapiens"}
    (root / "metadata" / f"{name}.json").write_text(json.dumps(facts))
    return root


def liver(of: Tissue, root: Path, name: str = "s1") -> Path:
    number, area = {"s1": (1, "A1"), "s2": (2, "B1")}[name]
    root.mkdir(parents=True, exist_ok=True)
    positions(of).to_csv(root / f"tissue_positions_list_{number}.csv", header=False, index=False)
    folder = root / "filtered_expression_matrices" / str(number)
    folder.mkdir(parents=True)
    rows = [f"{g + 1} {s + 1} {v}" for (s, g), v in np.ndenumerate(of.counts)]
    (folder / "matrix.mtx").write_text(
        f"%%MatrixMarket matrix coordinate integer general\n8 {len(of.counts)} {len(rows)}\n" + "\n".join(rows) + "\n"
    )
    pd.DataFrame({0: IDS, 1: SYMBOLS, 2: "Gene Expression"}).to_csv(
        folder / "features.tsv", sep="\t", header=False, index=False
    )
    pd.Series(of.spots.index).to_csv(folder / "barcodes.tsv", header=False, index=False)
    options: Any = {"extrasamples": ["unassalpha"]} if of.picture.shape[2] == 4 else {}
    tifffile.imwrite(root / f"GEX_C73_{area}_Merged.tif", of.picture, photometric="rgb", **options)
    return root


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG; of 16 bits a grey one, as Pillow writes no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.dtype == np.uint16 else pixels).save(path)


def tiles(of: Tissue) -> list[np.ndarray]:
    """Cut a tile of 16 pixels around each spot."""
    return [of.picture[round(y) - 8 : round(y) + 8, round(x) - 8 : round(x) + 8] for x, y in of.spots[["x", "y"]].to_numpy()]


def folder(of: Tissue, root: Path, name: str = "s1") -> Path:
    paths = [f"tiles/{name}_{number:03d}.png" for number in range(len(of.spots))]
    for path, pixels in zip(paths, tiles(of), strict=True):
        save(pixels, root / path)
    table = pd.DataFrame(of.counts, columns=SYMBOLS)
    table.insert(0, "ID", [path[6:-4] for path in paths])
    table.insert(1, "path", paths)
    table.to_csv(root / f"{name}.csv", index=False)
    return root


def patches(of: Tissue, root: Path, name: str = "s1") -> Path:
    for number, pixels in enumerate(tiles(of)):
        save(pixels, root / name / ("tumour" if number % 2 else "normal") / f"{number:03d}.png")
    return root


def wsi(of: Tissue, root: Path, name: str = "s1") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    write_ome(of.picture, root / f"{name}.ome.tif")
    return root


FORMS: dict[str, Callable[..., Path]] = {
    "visium": visium, "segmented": segmented, "xenium": xenium, "h5ad": h5ad, "spatialdata": spatialdata, "hest": hest,
    "her2st": her2st, "st2k": st2k, "liver": liver, "folder": folder, "patches": patches, "wsi": wsi,
}  # fmt: skip


def read(form: str, root: Path) -> Section:
    (section,) = read_all(form, root)
    return section


def read_all(form: str, root: Path, **more: Any) -> tuple[Section, ...]:
    return read_sections(DataConfig.model_validate({"source": form, "root": root, "mpp": 5.0, **more}))


def same(section: Section, of: Tissue) -> bool:
    """Return whether a section holds these spots, at their places if these are known, with their counts if it has any."""
    found, slide = sparse.csr_matrix(section.counts.X).toarray(), section.slide
    if isinstance(slide, PyramidSlide) and "mask" in section.counts.uns:
        return slide.size == of.picture.shape[1::-1] and len(section) > 0
    if isinstance(slide, PatchSlide):
        return list(section.counts.obs["label"]) == ["normal"] * 50 + ["tumour"] * 50
    if isinstance(slide, MosaicSlide):
        return np.array_equal(section.xy, slide.centres()) and np.array_equal(found, of.counts)
    at = of.spots[["x", "y"]].to_numpy()
    return section.xy.shape == at.shape and np.abs(section.xy - at).max() < 1e-9 and np.array_equal(found, of.counts)
