"""Toy sections written as Space Ranger writes tissue: h5 by h5py, MTX by scipy, tables by pandas and pyarrow.

Other test modules load this one by `runpy.run_path`, as it lies in no package.
"""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse

COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
SCALE = 0.25
"""The toy slide stands for the hires picture of a full-resolution one four times as large."""


def visium(section: Any, out: Path, positions: str = "tissue_positions.csv", counts: str = "h5") -> Path:
    """Write `out` as Space Ranger's folder `outs`; counts are `h5`, `mtx`, or `genes`, the older MTX."""
    write_picture(section, out / "spatial")
    # The toy's squares are no array of Visium: the dots of the frame, 104.75 um wide, give the scale.
    factors = {
        "tissue_hires_scalef": SCALE,
        "tissue_lowres_scalef": SCALE / 4,
        "spot_diameter_fullres": 60.0,
        "fiducial_diameter_fullres": 1.0475 * section.pitch() / SCALE,
    }
    (out / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    write_positions(section, out / "spatial" / positions)
    if counts == "h5":
        write_h5(section, out / "filtered_feature_bc_matrix.h5")
    else:
        write_mtx(section, out / "filtered_feature_bc_matrix", older=counts == "genes")
    return out


def visium_hd(sections: dict[int, Any], sample: Path) -> Path:
    """Write a sample of Space Ranger 3 whose bins of each size are the spots of a section."""
    outs = sample / "outs"
    for size, section in sections.items():
        square = outs / "binned_outputs" / f"square_{size:03d}um"
        (square / "spatial").mkdir(parents=True)
        factors = {
            "spot_diameter_fullres": size / 0.25,
            "bin_size_um": float(size),
            "microns_per_pixel": 0.25,
            "regist_target_img_scalef": 0.1,
            "tissue_lowres_scalef": SCALE / 4,
            "fiducial_diameter_fullres": 1200.0,
            "tissue_hires_scalef": SCALE,
        }
        (square / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
        write_positions(section, square / "spatial" / "tissue_positions.parquet")
        write_h5(section, square / "filtered_feature_bc_matrix.h5")
    write_picture(next(iter(sections.values())), outs / "spatial")
    return sample


def geo(section: Any, folder: Path, prefix: str, counts: str = "h5") -> Path:
    """Write a section as GEO hands it out: flat, every name behind a prefix, tables packed."""
    made = visium(section, folder / "made", "tissue_positions_list.csv", counts)
    for path in [path for path in made.rglob("*") if path.is_file()]:
        if path.suffix in (".h5", ".png"):
            shutil.move(path, folder / f"{prefix}{path.name}")
        else:
            (folder / f"{prefix}{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    shutil.rmtree(made)
    return folder


def write_picture(section: Any, spatial: Path) -> None:
    """Write the toy slide as the hires picture."""
    from bleep.data.slides import save_png

    spatial.mkdir(parents=True, exist_ok=True)
    side = section.slide.size[0]
    save_png(section.slide.region(0, 0, side, "white"), spatial / "tissue_hires_image.png")


def write_positions(section: Any, path: Path) -> None:
    """Write the positions in full-resolution pixels, and one spot outside the tissue."""
    ids = [*section.counts.obs_names, "outside"]
    xy = np.concatenate([section.xy, [[5.0, 5.0]]]) / SCALE
    under = np.array([1] * len(section) + [0])
    places = (ids, under, np.arange(len(ids)), np.arange(len(ids)), xy[:, 1], xy[:, 0])
    rows = pd.DataFrame(dict(zip(COLUMNS, places, strict=True)))
    if path.suffix == ".parquet":
        rows.to_parquet(path, index=False)
    else:
        rows.to_csv(path, index=False, header="positions_list" not in path.name)


def names_of(section: Any) -> tuple[list[str], list[str]]:
    """Return ids and symbols of the features; the last gene has the first one's symbol."""
    symbols = [*section.genes[:-1], section.genes[0]]
    return [f"ENSTOY{number:05d}" for number in range(len(symbols))], symbols


def write_h5(section: Any, path: Path, kinds: tuple[str, ...] = ()) -> None:
    """Write counts as Space Ranger's h5, with its types; the kinds named last are not genes."""
    matrix = sparse.csc_matrix(section.counts.X.T).astype(np.int32)
    ids, symbols = names_of(section)
    named = ["Gene Expression"] * (len(ids) - len(kinds)) + list(kinds)
    with h5py.File(path, "w") as file:
        part = file.create_group("matrix")
        part["data"], part["indices"], part["indptr"] = (
            matrix.data,
            matrix.indices.astype(np.int64),
            matrix.indptr.astype(np.int64),
        )
        part["shape"] = np.array(matrix.shape, np.int32)
        part["barcodes"] = np.array(list(section.counts.obs_names), dtype="S")
        for key, values in {"id": ids, "name": symbols, "feature_type": named, "genome": ["toy"] * len(ids)}.items():
            part[f"features/{key}"] = np.array(values, dtype="S")


def write_mtx(section: Any, folder: Path, older: bool = False) -> None:
    """Write counts as an MTX folder; the older has genes.tsv of two columns instead of features.tsv of three."""
    folder.mkdir(parents=True)
    io.mmwrite(folder / "matrix.mtx", sparse.csc_matrix(section.counts.X.T).astype(np.int32))
    ids, symbols = names_of(section)
    features = pd.DataFrame({0: ids, 1: symbols, **({} if older else {2: "Gene Expression"})})
    features.to_csv(folder / ("genes.tsv" if older else "features.tsv"), sep="\t", header=False, index=False)
    pd.DataFrame({0: section.counts.obs_names}).to_csv(folder / "barcodes.tsv", sep="\t", header=False, index=False)


def liver(sections: dict[int, Any], root: Path, name: str = "GEX_C73_{}_Merged.tif", **options: Any) -> Path:
    """Write sections as the authors of BLEEP laid out GSE240429, 1 for A1 to 4 for D1; options are tifffile's."""
    import tifffile

    (root / "data" / "tissue_pos_matrices").mkdir(parents=True)
    (root / "image").mkdir()
    for number, section in sections.items():
        write_mtx(section, root / "data" / "filtered_expression_matrices" / str(number))
        # Here the slide is the full-resolution picture.
        path = root / "data" / "tissue_pos_matrices" / f"tissue_positions_list_{number}.csv"
        write_positions(section, path)
        table = pd.read_csv(path, header=None)
        table[[4, 5]] = (table[[4, 5]] * SCALE).round().astype(int)
        table.to_csv(path, header=False, index=False)
        side = section.slide.size[0]
        picture = section.slide.region(0, 0, side, "white")
        tifffile.imwrite(root / "image" / name.format(f"{'ABCD'[number - 1]}1"), picture, photometric="rgb", **options)
    return root
