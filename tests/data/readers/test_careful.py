"""Every reader keeps every rule of care, or says why a rule does not apply: the table stands in docs/reference/files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from PIL import Image
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.errors import DataError

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


def visium(of: Tissue, root: Path) -> Path:
    spatial = root / "s1" / "spatial"
    spatial.mkdir(parents=True)
    positions(of).to_csv(spatial / "tissue_positions.csv", index=False)
    Image.fromarray(of.picture).save(spatial / "tissue_hires_image.png")
    (spatial / "scalefactors_json.json").write_text(json.dumps({"tissue_hires_scalef": 1.0}))
    table = sparse.csr_matrix(of.counts)
    with h5py.File(root / "s1" / "filtered_feature_bc_matrix.h5", "w") as file:
        part = file.create_group("matrix")
        part["data"], part["indices"], part["indptr"] = table.data, table.indices, table.indptr
        part["shape"], part["barcodes"] = np.array(table.shape[::-1]), np.array(list(of.spots.index), dtype="S")
        kinds = ["Gene Expression"] * 8
        for key, values in {"id": IDS, "name": SYMBOLS, "feature_type": kinds, "genome": kinds}.items():
            part[f"features/{key}"] = np.array(values, dtype="S")
    return root


def h5ad(of: Tissue, root: Path) -> Path:
    data = frame(of)
    data.uns["spatial"] = {"V1": {"images": {"hires": of.picture}, "scalefactors": {"tissue_hires_scalef": 1.0}}}
    (root / "in").mkdir(parents=True)
    data.write_h5ad(root / "in" / "s1.h5ad")
    return root


def legacy(of: Tissue, folder: Path, table: str) -> None:
    spots = of.spots
    folder.mkdir(parents=True)
    names = [f"{x}x{y}" for x, y in zip(spots["array_col"], spots["array_row"], strict=True)]
    pd.DataFrame(of.counts, names, SYMBOLS).to_csv(folder / "s1.tsv.gz", sep="\t")
    columns = {"x": spots["array_col"], "y": spots["array_row"], "pixel_x": spots["x"], "pixel_y": spots["y"]}
    pd.DataFrame({**columns, "selected": spots["used"]}).to_csv(folder / table, sep="\t", index=False)
    Image.fromarray(of.picture).save(folder / "s1.jpg", quality=95)


def her2st(of: Tissue, root: Path) -> Path:
    legacy(of, root / "s1", "s1_selection.tsv")
    return root


def st2k(of: Tissue, root: Path) -> Path:
    legacy(of, root / "s1", "alignment_table_s1.tsv")
    return root


def hest(of: Tissue, root: Path) -> Path:
    for folder in ("st", "wsis", "metadata"):
        (root / folder).mkdir(parents=True)
    frame(of).write_h5ad(root / "st" / "s1.h5ad")
    options: Any = {"extrasamples": ["unassalpha"]} if of.picture.shape[2] == 4 else {}
    tifffile.imwrite(root / "wsis" / "s1.tif", of.picture, tile=(128, 128), photometric="rgb", **options)
    (root / "metadata" / "s1.json").write_text(json.dumps({"pixel_size_um_estimated": 5.0, "species": "Homo sapiens"}))
    return root


def liver(of: Tissue, root: Path) -> Path:
    root.mkdir(parents=True)
    positions(of).to_csv(root / "tissue_positions_list_1.csv", header=False, index=False)
    folder = root / "filtered_expression_matrices" / "1"
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
    tifffile.imwrite(root / "GEX_C73_A1_Merged.tif", of.picture, photometric="rgb", **options)
    return root


FORMS: dict[str, Callable[[Tissue, Path], Path]] = {
    "visium": visium, "h5ad": h5ad, "her2st": her2st, "st2k": st2k, "hest": hest, "liver": liver,
}  # fmt: skip


def read(form: str, root: Path) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": form, "root": root, "mpp": 5.0}))
    return section


def same(section: Section, of: Tissue) -> bool:
    """Return whether a section holds these spots, at their places, with their counts."""
    found = sparse.csr_matrix(section.counts.X).toarray()
    return np.array_equal(section.xy, of.spots[["x", "y"]].to_numpy()) and np.array_equal(found, of.counts)


def hidden_files(form: str, root: Path) -> None:
    """names that begin with a dot, `__MACOSX` and `.ipynb_checkpoints` are left alone"""
    place = FORMS[form](tissue(), root / "in")
    for path in [path for path in place.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    first = next(path for path in sorted(place.iterdir()) if not path.name.startswith("."))
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        (place / name).mkdir()
        (shutil.copytree if first.is_dir() else shutil.copy)(first, place / name / first.name)
    assert same(read(form, place), tissue())


def linked_folders(form: str, root: Path) -> None:
    """folders that are symbolic links are followed, a circle of them once"""
    place = FORMS[form](tissue(), root / "elsewhere")
    linked = root / "in"
    linked.mkdir()
    for path in place.iterdir():
        (linked / path.name).symlink_to(path)
    (linked / "circle").symlink_to(linked)
    assert same(read(form, linked), tissue())


def spots_beyond(form: str, root: Path) -> None:
    """up to 5 % of the spots may lie beyond the picture and are left out; more are refused"""
    of = tissue()
    few, many = of.spots.copy(), of.spots.copy()
    few.iloc[:5, few.columns.get_loc("y")] = -30.0
    many.iloc[:6, many.columns.get_loc("y")] = -30.0
    section = read(form, FORMS[form](replace(of, spots=few), root / "few"))
    assert same(section, Tissue(of.spots.iloc[5:], of.counts[5:]))
    with pytest.raises(DataError, match=r"6 of 100 spots lie outside the slide.*reach from"):
        read(form, FORMS[form](replace(of, spots=many), root / "many"))


def unused_spots(form: str, root: Path) -> None:
    """spots that are not under tissue need no position; the others do"""
    of = tissue()
    spots = of.spots.copy()
    spots.iloc[:2, spots.columns.get_loc("used")] = 0
    spots.iloc[:2, [spots.columns.get_loc("x"), spots.columns.get_loc("y")]] = np.nan
    section = read(form, FORMS[form](replace(of, spots=spots), root / "unused"))
    assert same(section, Tissue(of.spots.iloc[2:], of.counts[2:]))
    spots["used"] = 1
    with pytest.raises(DataError, match=r"no finite number|not a number|expected numbers|outside"):
        read(form, FORMS[form](replace(of, spots=spots), root / "used"))


def transparent(form: str, root: Path) -> None:
    """what is transparent is white, whatever colour stands there"""
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[:, :20] = 0
    section = read(form, FORMS[form](replace(tissue(), picture=rgba), root / "in"))
    assert (section.slide.region(0, 40, 20, "white") == 255).all()
    np.testing.assert_array_equal(section.slide.region(30, 40, 20, "white"), RGB[40:60, 30:50])


def deep(form: str, root: Path) -> None:
    """values of more than 8 bits are refused"""
    sixteen = RGB.astype(np.uint16) * 16
    writer = FORMS[form]
    if form == "visium":
        place = writer(tissue(), root / "in")
        png = place / "s1" / "spatial" / "tissue_hires_image.png"
        Image.fromarray(sixteen[..., 0]).save(png)
    else:
        place = writer(replace(tissue(), picture=sixteen), root / "in")
    with pytest.raises(DataError, match=r"more than 8 bits|more bits"):
        read(form, place)


def one_sample(form: str, root: Path) -> None:
    """barcodes of several samples on one picture are refused"""
    of = tissue()
    names = [name if number < 50 else f"{name[:-1]}2" for number, name in enumerate(of.spots.index)]
    with pytest.raises(DataError, match="barcodes end in '-1' and in '-2'"):
        read(form, FORMS[form](replace(of, spots=of.spots.set_axis(names)), root / "in"))


RULES = (hidden_files, linked_folders, spots_beyond, unused_spots, transparent, deep, one_sample)
NOT: dict[tuple[str, str], str] = {
    ("hest", "unused_spots"): "`in_tissue` has no meaning there",
    ("her2st", "transparent"): "JPEG has no transparency",
    ("st2k", "transparent"): "JPEG has no transparency",
    ("her2st", "deep"): "JPEG has 8 bits",
    ("st2k", "deep"): "JPEG has 8 bits",
    ("her2st", "one_sample"): "spots are named by their place",
    ("st2k", "one_sample"): "spots are named by their place",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("form", FORMS)
def test_a_reader_keeps_a_rule(form: str, rule: Callable[[str, Path], None], tmp_path: Path) -> None:
    if (form, rule.__name__) not in NOT:
        rule(form, tmp_path)


def test_the_table_stands_in_the_documentation() -> None:
    lines = ["| rule | " + " | ".join(FORMS) + " |", "| --- |" + " --- |" * len(FORMS)]
    for rule in RULES:
        cells = [NOT.get((form, rule.__name__), "yes") for form in FORMS]
        lines.append(f"| {rule.__doc__} | " + " | ".join(cells) + " |")
    text = (Path(__file__).parents[3] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in text, "\n".join(lines)
