"""Read folders that others published, and compare each section with a reading that does not pass through this package.

    python benchmarks/reliability/public_folders.py --data DATA [--scanpy SCANPY] [--squidpy SQUIDPY]

DATA holds the folders of docs/design.md's protocols; SCANPY and SQUIDPY are unpacked source distributions of the two packages,
whose tests bring small real files. Counts are read by scanpy, anndata or pandas, positions by pandas, pictures by Pillow. The
record is benchmarks/results/public_folders.md; a difference ends with exit code 1.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scanpy
from PIL import Image
from scipy.spatial import cKDTree

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.files import write_text

Image.MAX_IMAGE_PIXELS = None
TABLE = Path(__file__).resolve().parents[2] / "benchmarks/results/public_folders.md"
SIDE = 48


@dataclass(frozen=True)
class Alone:
    """A section as somebody else's code reads it; `counts` has spots in rows and genes in columns, named."""

    counts: pd.DataFrame | None
    xy: pd.DataFrame
    """Level-0 pixels by spot."""
    picture: Path
    mpp: float = float("nan")
    """By a rule that this package does not use; NaN: the folder states none, so the setting is what there is."""
    labels: pd.Series | None = None


def counts_of(data: anndata.AnnData) -> pd.DataFrame:
    """Return a table of counts; genes that share a symbol keep their ids apart by position alone."""
    return pd.DataFrame(data.X.toarray(), index=data.obs_names)


def legacy(folder: Path) -> Alone:
    """Read a section of legacy Spatial Transcriptomics, with its selection table."""
    counts = pd.read_csv(next(folder.glob("*.tsv.gz")), sep="\t", index_col=0)
    table = pd.read_csv(next(folder.glob("*_selection.tsv")), sep="\t")
    table.index = pd.Index([f"{x}x{y}" for x, y in zip(table["x"], table["y"], strict=True)])
    both = table.index.intersection(counts.index)
    return Alone(counts.loc[both], table.loc[both, ["pixel_x", "pixel_y"]], next(folder.glob("*.jpg")))


def bulb(folder: Path) -> Alone:
    """Read a section of the olfactory bulb: spots under tissue alone; arrays have spots 200 um apart in staggered rows."""
    counts = pd.read_csv(next(folder.glob("*.tsv.gz")), sep="\t", index_col=0)
    table = pd.read_csv(next(folder.glob("alignment_table*.tsv")), sep="\t")
    table = table[table["selected"] == 1]
    table.index = pd.Index([f"{x}x{y}" for x, y in zip(table["x"], table["y"], strict=True)])
    return Alone(counts.loc[table.index], table[["pixel_x", "pixel_y"]], next(folder.glob("*.jpg")))


def visium(folder: Path, matrix: Path, picture: str, factor: str) -> Alone:
    """Read a Visium folder with scanpy; a pixel is 100 um by the median distance of nearest spots of the whole array."""
    data = scanpy.read_10x_mtx(matrix, var_names="gene_ids") if matrix.is_dir() else scanpy.read_10x_h5(matrix)
    path = next(folder.glob("spatial/tissue_positions*.csv"))
    names = ["barcode", "in_tissue", "array_row", "array_col", "row", "col"]
    table = pd.read_csv(path, header=0 if "barcode" in path.read_text()[:40] else None)
    table.columns = pd.Index(names)
    table = table.set_index("barcode")
    scale = json.loads((folder / "spatial/scalefactors_json.json").read_text())[factor]
    xy = table[["col", "row"]] * scale
    apart = float(np.median(cKDTree(xy.to_numpy()).query(xy.to_numpy(), k=2)[0][:, 1]))
    both = data.obs_names.intersection(table.index[table["in_tissue"] == 1])
    return Alone(counts_of(data[both]), xy.loc[both], folder / picture, 100 / apart)


def check(section: Section, alone: Alone, mpp_given: bool) -> dict[str, Any]:
    """Return what was compared, and raise AssertionError at the first difference."""
    ids = [name.split("/")[-1] for name in section.counts.obs_names]
    counts, xy = alone.counts, alone.xy.loc[ids].to_numpy(float)
    assert len(ids) == len(alone.xy), f"{len(ids)} spots, {len(alone.xy)} alone"
    assert counts is not None
    ours, theirs = section.counts.X, counts.loc[ids].to_numpy(float)
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    apart = float(np.abs(np.asarray(ours.sum(axis=1)).ravel() - theirs.sum(axis=1)).max())
    assert apart == 0, f"totals of spots differ by {apart}"
    # Columns are in the file's order on both sides, whatever they are called.
    assert float(abs(ours - theirs).max()) == 0, "counts differ"
    off = float(np.abs(section.xy - xy).max())
    assert off <= 0.51, f"positions differ by {off:.2f} pixels"
    with Image.open(alone.picture) as picture:
        pixels = picture.convert("RGB")
        assert section.slide.size == pixels.size, f"{section.slide.size} against {pixels.size}"
        x, y = section.xy[len(ids) // 2].astype(int)
        left, top = min(max(x - SIDE // 2, 0), pixels.width - SIDE), min(max(y - SIDE // 2, 0), pixels.height - SIDE)
        box = np.asarray(pixels.crop((left, top, left + SIDE, top + SIDE)), np.int16)
    assert int(np.abs(section.slide.region(left, top, SIDE, "white").astype(np.int16) - box).max()) <= 1, "pixels differ"
    ratio = section.mpp / alone.mpp
    assert mpp_given or np.isnan(ratio) or abs(ratio - 1) < 0.02, f"{section.mpp:.3f} microns per pixel, {alone.mpp:.3f} alone"
    return {
        "spots": len(ids),
        "genes": theirs.shape[1],
        "counts": int(theirs.sum()),
        "positions off by, px": round(off, 2),
        "um per px": f"{section.mpp:.2f}",
        "alone": "given" if mpp_given or np.isnan(ratio) else f"{alone.mpp:.2f}",
    }


def check_labels(sections: Iterable[Section], alone: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Compare patients, number of patches, labels and one picture of each patient."""
    patches, seen, names = 0, set(), set()
    for section in sections:
        labels = dict(zip(section.counts.obs_names, section.counts.obs["label"].astype(str), strict=True))
        assert labels == alone.get(section.patient), f"labels of {section.patient} differ"
        patches += len(labels)
        names |= set(labels.values())
        seen.add(section.patient)
    assert seen == set(alone), f"patients differ: {sorted(seen ^ set(alone))[:5]}"
    return {"spots": patches, "counts": f"{len(seen)} patients, {len(names)} classes"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scanpy", type=Path, help="unpacked source distribution of scanpy")
    parser.add_argument("--squidpy", type=Path, help="unpacked source distribution of squidpy")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = [row for work in FOLDERS if (row := work(arguments))]
    readers = ", ".join(f"{name} {version(name)}" for name in ("scanpy", "anndata", "pandas", "pillow"))
    lines = [
        "# Public folders, read by hand",
        "",
        "`python benchmarks/reliability/public_folders.py --data DATA --scanpy SDIST --squidpy SDIST`: each section as this "
        f"package reads it, against a reading of its own by {readers}. Every count, every position, the size of the picture "
        "and a box of its pixels are compared. `alone` is the scale by a rule that this package does not use; given: set, "
        "or not stated.",
        "",
    ]
    table = pd.DataFrame([{key: str(value) for key, value in row.items()} for row in rows]).fillna("")
    lines += ["| " + " | ".join(table.columns) + " |", "| --- |" + " --- |" * (len(table.columns) - 1)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    write_text(TABLE, "\n".join([*lines, ""]))
    print("\n".join(lines))
    return int(any(row["equal"] != "yes" for row in rows))


def several(
    name: str, source: str, made: str, alone: Callable[[Path], Alone], **settings: Any
) -> Callable[[Any], dict[str, Any]]:
    """Return the comparison of a folder of sections."""

    def work(arguments: argparse.Namespace) -> dict[str, Any]:
        root = arguments.data / name
        sections = read_sections(DataConfig.model_validate({"source": source, "root": root, **settings}))
        row: dict[str, Any] = {"folder": name, "made by": made, "form": source, "sections": len(sections), "equal": "yes"}
        try:
            found = [check(one, alone(root / one.name if len(sections) > 1 else root), "mpp" in settings) for one in sections]
        except AssertionError as error:
            return row | {"equal": f"no: {error}"}
        return row | joined(found)

    return work


def joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    table = pd.DataFrame(found)
    genes = sorted(set(table["genes"]))
    return {
        "spots": int(table["spots"].sum()),
        "genes": str(genes[0]) if len(genes) == 1 else f"{genes[0]} to {genes[-1]}",
        "counts": int(table["counts"].sum()),
        "positions off by, px": float(table["positions off by, px"].max()),
        "um per px": ", ".join(dict.fromkeys(table["um per px"])),
        "alone": ", ".join(dict.fromkeys(table["alone"])),
    }


def idc(arguments: argparse.Namespace) -> dict[str, Any]:
    root = arguments.data / "idc"
    alone = {
        patient.name: {path.stem: path.parent.name for path in patient.rglob("*.png")}
        for patient in sorted(root.iterdir())
        if patient.is_dir()
    }
    return labels("idc", "breast cancer patches of 50 px, class and place in the name", root, alone)


def breakhis(arguments: argparse.Namespace) -> dict[str, Any]:
    root = arguments.data / "breakhis_200x"
    alone: dict[str, dict[str, str]] = {}
    table = pd.read_csv(root / "manifest.csv")
    for name, label in zip(table["file"], table["label"], strict=True):
        year, slide = name.split("-")[1:3]
        alone.setdefault(f"{year}-{slide}", {})[Path(name).stem] = label
    return labels("breakhis_200x", "BreakHis, breast tumours at 200 x", root, alone)


def labels(name: str, made: str, root: Path, alone: dict[str, dict[str, str]]) -> dict[str, Any]:
    sections = read_sections(DataConfig.model_validate({"source": "patches", "root": root}))
    row = {"folder": name, "made by": made, "form": "patches", "sections": len(sections), "equal": "yes"}
    try:
        return row | check_labels(sections, alone)
    except AssertionError as error:
        return row | {"equal": f"no: {error}"}


def of_scanpy(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.scanpy:
        return {}
    root = arguments.scanpy / "tests/_data/visium_data/1.0.0"
    sections = read_sections(DataConfig.model_validate({"source": "visium", "root": root}))
    row = {
        "folder": "visium_data/1.0.0 of scanpy's tests",
        "made by": "10x Genomics, Space Ranger 1.0, cut to 100 genes",
        "form": "visium",
        "sections": len(sections),
        "equal": "yes",
    }
    alone = visium(root, root / "filtered_feature_bc_matrix.h5", "spatial/tissue_hires_image.png", "tissue_hires_scalef")
    try:
        return row | joined([check(sections[0], alone, mpp_given=False)])
    except AssertionError as error:
        return row | {"equal": f"no: {error}"}


def of_squidpy(arguments: argparse.Namespace) -> dict[str, Any]:
    """Its picture was standardised for a tutorial, so it must be refused, in a sentence."""
    if not arguments.squidpy:
        return {}
    path = arguments.squidpy / "tests/_data/test_data.h5ad"
    row = {
        "folder": "test_data.h5ad of squidpy's tests",
        "made by": "10x Genomics, mouse brain, standardised by a tutorial",
        "form": "h5ad",
    }
    picture = next(iter(anndata.read_h5ad(path).uns["spatial"].values()))["images"]["hires"]
    try:
        read_sections(DataConfig.model_validate({"source": "h5ad", "root": path}))
    except DataError as error:
        right = float(np.min(picture)) < 0 and f"{np.min(picture):.6g}" in str(error)
        return row | {"equal": "yes" if right else f"no: {error}", "counts": "refused: the picture holds z-scores"}
    return row | {"equal": "no: a picture of z-scores was read"}


FOLDERS = (
    several("her2st", "her2st", "Andersson et al. 2021, legacy ST, human breast", legacy, mpp=0.69),
    several("als_spinal_cord", "her2st", "Maniatis et al. 2019, legacy ST, mouse spinal cord", legacy, mpp=0.686),
    several("mob_st2k", "st2k", "STUtility's example, ST 2k, mouse olfactory bulb", bulb),
    several(
        "visium_mouse_muscle",
        "visium",
        "McKellar et al. 2021, Space Ranger 1.0, mouse muscle",
        lambda root: visium(
            root / "Vis5A_2dpi",
            root / "Vis5A_2dpi/Vis5A_filtered_feature_bc_matrix.h5",
            "spatial/tissue_lowres_image.png",
            "tissue_lowres_scalef",
        ),
    ),
    several(
        "visium_cytassist_mouse_embryo",
        "visium",
        "CoexpressDeconvolve's example, CytAssist, mouse embryo",
        lambda root: visium(
            root, root / "filtered_feature_bc_matrix", "spatial/tissue_lowres_image.png", "tissue_lowres_scalef"
        ),
    ),
    several(
        "visium_mini_spaniel",
        "visium",
        "Spaniel's example, Space Ranger 1, mouse brain",
        lambda root: visium(
            root, root / "filtered_feature_bc_matrix", "spatial/tissue_lowres_image.png", "tissue_lowres_scalef"
        ),
    ),
    of_scanpy,
    of_squidpy,
    idc,
    breakhis,
)

if __name__ == "__main__":
    sys.exit(main())
