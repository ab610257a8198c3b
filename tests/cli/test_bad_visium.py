"""Bad files of Space Ranger, of the liver and of spots end in one clear sentence and exit code 2, with nothing written."""

import gzip
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "data/readers/spaceranger_files.py")))
Damage = Callable[[Path], object]
Case = tuple[str, Damage, tuple[str, ...]]


@pytest.fixture(scope="session")
def trees(toys: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sections in each version of Space Ranger's folders, and the four of the liver; read them, do not change them."""
    root = tmp_path_factory.mktemp("spaceranger")
    for toy in toys[:2]:
        FILES.visium(toy, root / "sr2" / toy.name / "outs")
        FILES.visium(toy, root / "sr1" / toy.name / "outs", "tissue_positions_list.csv")
        FILES.visium(toy, root / "mtx" / toy.name / "outs", counts="mtx")
        FILES.visium_hd({16: toy}, root / "hd" / toy.name)
    FILES.liver(dict(enumerate(toys, start=1)), root / "liver")
    return root


@pytest.fixture
def spoil(trees: Path, tmp_path: Path) -> Callable[[str, Damage], Path]:
    """Copy one form and damage its first section; return the form's root."""

    def copy(form: str, damage: Damage) -> Path:
        root = tmp_path / form
        shutil.copytree(trees / form, root)
        first = {"hd": root / "toy1/outs/binned_outputs/square_016um", "liver": root}.get(form, root / "toy1/outs")
        damage(first)
        return root

    return copy


def of(source: str, root: Path, test: str, **over: Any) -> dict[str, Any]:
    return {"data": {"source": source, "root": str(root), "split": "section", "test": [test], **over}}


def cut(name: str, share: float = 0.5) -> Damage:
    def damage(at: Path) -> None:
        path = at / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


def text(name: str, content: str) -> Damage:
    return lambda at: (at / name).write_text(content)


def gone(name: str) -> Damage:
    return lambda at: (at / name).unlink()


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], **options: Any) -> Damage:
    def damage(at: Path) -> None:
        path = at / name
        if path.suffix == ".parquet":
            change(pd.read_parquet(path)).to_parquet(path, index=False)
        else:
            headless = "positions_list" in name
            read = pd.read_csv(path, header=None if headless else "infer")
            change(read).to_csv(path, index=False, **{"header": not headless, **options})

    return damage


def factors(**over: Any) -> Damage:
    def damage(at: Path) -> None:
        path = at / "spatial/scalefactors_json.json"
        tree = json.loads(path.read_text()) | over
        path.write_text(json.dumps({key: value for key, value in tree.items() if value != "gone"}))

    return damage


def h5(change: Callable[[h5py.File], object]) -> Damage:
    def damage(at: Path) -> None:
        with h5py.File(at / H5, "r+") as file:
            change(file)

    return damage


def put(**over: Any) -> Damage:
    """Replace datasets of the matrix; `name__of` stands for `name/of`."""

    def change(file: h5py.File) -> None:
        for key, value in over.items():
            name = "matrix/" + key.replace("__", "/")
            new = value(file[name][:]) if callable(value) else value
            del file[name]
            file[name] = new

    return h5(change)


def older(at: Path) -> None:
    with h5py.File(at / H5, "w") as file:
        for name in ("gene_names", "genes", "barcodes"):
            file[f"GRCh38/{name}"] = [b"A"]


def swapped(at: Path) -> None:
    picture = at / "spatial/tissue_hires_image.png"
    with Image.open(picture) as image:
        wide = np.concatenate([np.asarray(image)] * 2, axis=1)
    Image.fromarray(wide).save(picture)
    x, y = "pxl_col_in_fullres", "pxl_row_in_fullres"
    table(CSV, lambda t: t.assign(**{x: t[y], y: t[x] + 800}))(at)


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Damage:
    return lambda at: (at / name).write_text("\n".join(change((at / name).read_text().splitlines())) + "\n")


def packed(name: str, share: float = 1.0) -> Damage:
    """Pack a file, and cut it short where the share is below 1."""

    def damage(at: Path) -> None:
        whole = gzip.compress((at / name).read_bytes())
        (at / f"{name}.gz").write_bytes(whole[: int(len(whole) * share)])
        (at / name).unlink()

    return damage


NONE = np.zeros(0, int)
H5, CSV, LIST = "filtered_feature_bc_matrix.h5", "spatial/tissue_positions.csv", "spatial/tissue_positions_list.csv"
MTX, PARQUET, HIRES = "filtered_feature_bc_matrix/", "spatial/tissue_positions.parquet", "spatial/tissue_hires_image.png"
POS, COUNTS = "data/tissue_pos_matrices/tissue_positions_list_1.csv", "data/filtered_expression_matrices/1/"
TIFF = "image/GEX_C73_A1_Merged.tif"

CASES: dict[str, Case] = {
    "h5 cut short": ("sr2", cut(H5), (H5, "cut short")),
    "h5 of another program": ("sr2", text(H5, "x" * 5000), (H5, "is no count file of Space Ranger")),
    "h5 without a matrix": ("sr2", h5(lambda f: f.move("matrix", "counts")), (H5, "is no count file", "matrix")),
    "h5 of Cell Ranger 2": ("sr2", older, (H5, "layout of Cell Ranger 2")),
    "h5 without barcodes": ("sr2", h5(lambda f: f.pop("matrix/barcodes")), (H5, "barcodes")),
    "h5 whose genes are numbers": ("sr2", put(features__name=lambda old: np.arange(len(old))), (H5, "is no count file")),
    "h5 with genes out of range": ("sr2", put(indices=lambda old: old + 10_000), (H5, "is no count file")),
    "h5 with a spot too few": ("sr2", put(barcodes=lambda old: old[:-1]), (H5, "genes x", "barcodes")),
    "h5 with a count too few": ("sr2", put(data=lambda old: old[:-5]), (H5, "is no count file")),
    "h5 with a spot twice": ("sr2", put(barcodes=lambda old: np.array([old[1], *old[1:]])), ("more than once in the counts",)),
    "h5 of negative counts": ("sr2", put(data=lambda old: -old), ("negative values",)),
    "h5 of counts that are no numbers": ("sr2", put(data=lambda old: old * np.nan), ("not numbers",)),
    "h5 of an empty matrix": (
        "sr2",
        put(data=NONE, indices=NONE, indptr=np.zeros(1, int), barcodes=np.zeros(0, "S4"), shape=[60, 0]),
        (H5, "of 0 spots"),
    ),
    "no genes among the features": (
        "sr2", put(features__feature_type=lambda old: np.array([b"CRISPR"] * len(old))), ("no feature of the kind", "'CRISPR'"),
    ),
    "the raw counts alone": (
        "sr2", lambda at: (at / H5).rename(at / "raw_feature_bc_matrix.h5"), ("raw_feature_bc_matrix.h5", "the whole array"),
    ),
    "no counts": ("sr2", gone(H5), ("has no counts",)),
    "two files of counts": ("sr2", lambda at: shutil.copy(at / H5, at / f"b_{H5}"), ("several count files",)),
    "positions of another slide": ("sr2", table(CSV, lambda t: t.assign(barcode="x" + t["barcode"])), ("no spot has both",)),
    "a spot twice in the positions": ("sr2", table(CSV, lambda t: pd.concat([t, t[:1]])), ("more than once in the positions",)),
    "a position missing": (
        "sr2", table(CSV, lambda t: t.assign(pxl_row_in_fullres=t["pxl_row_in_fullres"].where(t.index != 2))),
        (CSV, "'pxl_row_in_fullres' holds no finite number"),
    ),
    "text for a position": ("sr2", table(CSV, lambda t: t.assign(pxl_col_in_fullres="here")), (CSV, "does not hold numbers")),
    "x and y swapped": ("sr2", swapped, ("are x and y swapped",)),
    "a column missing": ("sr2", table(CSV, lambda t: t.drop(columns="in_tissue")), (CSV, "has no column 'in_tissue'")),
    "nothing under tissue": ("sr2", table(CSV, lambda t: t.assign(in_tissue=0)), (CSV, "no spot has in_tissue = 1")),
    "tissue that is neither in nor out": ("sr2", table(CSV, lambda t: t.assign(in_tissue=7)), (CSV, "holds 7", "0 or 1")),
    "a barcode missing": ("sr2", table(CSV, lambda t: t.assign(barcode=[None, *t["barcode"][1:]])), (CSV, "has no barcode")),
    "no positions": ("sr2", gone(CSV), ("has no positions", "tissue_positions.csv")),
    "empty positions": ("sr2", text(CSV, ""), (CSV, "cannot be read as a table")),
    "no scale": ("sr2", factors(tissue_hires_scalef="gone"), ("scalefactors_json.json", "tissue_hires_scalef is None")),
    "a scale of zero": ("sr2", factors(tissue_hires_scalef=0), ("tissue_hires_scalef is 0", "above 0")),
    "a scale in words": ("sr2", factors(tissue_hires_scalef="0.25"), ("tissue_hires_scalef is '0.25'",)),
    "another scale": ("sr2", factors(tissue_hires_scalef=1.0), ("lie outside the slide", "another resolution")),
    "JSON cut short": ("sr2", cut("spatial/scalefactors_json.json"), ("scalefactors_json.json", "is damaged")),
    "JSON of another kind": ("sr2", text("spatial/scalefactors_json.json", "[1]"), ("scalefactors_json.json", "holds a list")),
    "no picture": ("sr2", gone(HIRES), ("has no tissue_hires_image", "data.image")),
    "a picture cut short": ("sr2", cut(HIRES), (HIRES, "damaged or cut short")),
    "a picture that is none": ("sr2", text(HIRES, "png"), (HIRES, "cannot be read as an image")),
    "a packed picture": ("sr2", packed(HIRES), (f"{HIRES}.gz", "gunzip")),
    "two sections of one name": (
        "sr2", lambda at: shutil.copytree(at, at.parents[1] / "more" / "toy1"), ("section 'toy1' is found in",),
    ),
    "too few columns": ("sr1", table(LIST, lambda t: t[[0, 1, 2]]), (LIST, "has 3 columns", "without a header")),
    "columns in another order": ("sr1", table(LIST, lambda t: t[[0, 4, 5, 1, 2, 3]]), (LIST, "expected 0 or 1")),
    "a matrix cut short": ("mtx", cut(f"{MTX}matrix.mtx"), ("matrix.mtx", "cannot be read as a matrix")),
    "a packed matrix cut short": ("mtx", packed(f"{MTX}matrix.mtx", 0.5), ("matrix.mtx.gz", "cannot be read as a matrix")),
    "a matrix that is none": ("mtx", text(f"{MTX}matrix.mtx", "genes\n1 2 3\n"), ("matrix.mtx", "cannot be read as a matrix")),
    "a matrix with a zero byte": (
        "mtx", lines(f"{MTX}matrix.mtx", lambda old: [*old[:4], f"\0{old[4]}", *old[5:]]), ("matrix.mtx", "as a matrix"),
    ),
    "a matrix with an entry too few": (
        "mtx", lines(f"{MTX}matrix.mtx", lambda old: old[:-1]), ("matrix.mtx", "entries where", "are announced"),
    ),
    "a matrix with an entry outside": (
        "mtx", lines(f"{MTX}matrix.mtx", lambda old: [*old[:-1], "61 1 5"]), ("matrix.mtx", "lies outside 60 genes"),
    ),
    "a matrix of another shape": (
        "mtx", lines(f"{MTX}matrix.mtx", lambda old: [*old[:2], "70 90 1", "1 1 1"]), ("70 genes x 90 spots", "different runs"),
    ),
    "fewer features": ("mtx", lines(f"{MTX}features.tsv", lambda old: old[:-3]), ("features.tsv has 57", "different runs")),
    "no barcodes": ("mtx", gone(f"{MTX}barcodes.tsv"), ("has no barcodes.tsv",)),
    "empty barcodes": ("mtx", text(f"{MTX}barcodes.tsv", ""), ("barcodes.tsv", "cannot be read as a table")),
    "two matrices": (
        "mtx", lambda at: shutil.copy(at / f"{MTX}matrix.mtx", at / f"{MTX}b_matrix.mtx"), ("several files that could be",),
    ),
    "parquet cut short": ("hd", cut(PARQUET), (PARQUET, "cannot be read as a table")),
    "parquet of another kind": ("hd", text(PARQUET, "barcode,in_tissue"), (PARQUET, "cannot be read as a table")),
    "a column missing in parquet": (
        "hd", table(PARQUET, lambda t: t.drop(columns="pxl_row_in_fullres")), (PARQUET, "has no column 'pxl_row_in_fullres'"),
    ),
    "text in parquet": (
        "hd", table(PARQUET, lambda t: t.assign(pxl_row_in_fullres="a")), (PARQUET, "does not hold numbers alone"),
    ),
    "nothing under tissue in HD": ("hd", table(PARQUET, lambda t: t.assign(in_tissue=0)), (PARQUET, "in_tissue = 1")),
    "bins of another size": ("hd", factors(bin_size_um=8), ("its bins are 8 um wide", "square_016um")),
    "positions of the liver cut short": ("liver", cut(POS), (POS,)),
    "no features of the liver": ("liver", gone(f"{COUNTS}features.tsv"), ("has no counts of section A1", "features.tsv")),
    "a matrix of the liver cut short": ("liver", packed(f"{COUNTS}matrix.mtx", 0.5), ("matrix.mtx.gz", "as a matrix")),
    "counts of another section of the liver": (
        "liver",
        lambda at: shutil.copy(at / "data/filtered_expression_matrices/2/barcodes.tsv", at / f"{COUNTS}barcodes.tsv"),
        ("they are of different runs",),
    ),
    "no picture of the liver": ("liver", gone(TIFF), ("has no picture of section A1", "GEX_C73_A1_Merged.tif")),
    "a packed picture of the liver": ("liver", packed(TIFF), (f"{TIFF}.gz", "gunzip")),
    "a picture of the liver cut short": ("liver", cut(TIFF), (TIFF, "is")),
    "an empty picture of the liver": ("liver", text(TIFF, ""), (TIFF, "cannot be read")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_a_bad_section(kind: str, fails: Any, train: Any, spoil: Any) -> None:
    form, damage, words = CASES[kind]
    root = spoil(form, damage)
    tested = {"liver": "D1"}.get(form, "toy2")
    fails(train(of("liver" if form == "liver" else "visium", root, tested)), *words)


def nothing(_: Path) -> None:
    pass


SETTINGS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "bins that are not there": ("hd", {"bin": 8}, ("has no bins of 8 um", "found 16 um", "data.bin")),
    "a picture that is not there": ("sr2", {"image": "he.tif"}, ("outs/he.tif", "no such image")),
    "a full scale for the hires picture": ("sr2", {"image": "spatial/tissue_hires_image.png"}, ("lie outside the slide",)),
    "a picture above the limit": ("sr2", {"pixel_limit": 1000}, ("more than the 1000 pixels", "data.pixel_limit")),
    "a picture of the liver above the limit": ("liver", {"pixel_limit": 1000}, ("more than the 1000 pixels",)),
    "a section that is not there": ("liver", {"sections": ["A1", "E1"]}, ("has no section 'E1'", "A1, B1, C1, D1")),
    "a form that is not there": ("liver", {"source": "visium"}, ("no section of the form visium is there",)),
    "the liver where Visium is": ("sr2", {"source": "liver"}, ("no section of the form liver is there",)),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_that_do_not_fit_the_files(kind: str, fails: Any, train: Any, spoil: Any) -> None:
    form, over, words = SETTINGS[kind]
    base = {"source": "liver" if form == "liver" else "visium"}
    fails(train(of(**{**base, "root": spoil(form, nothing), "test": "toy2", **over})), *words)


def one_place(t: pd.DataFrame) -> pd.DataFrame:
    return t.assign(pxl_row_in_fullres=100, pxl_col_in_fullres=100)


@pytest.mark.parametrize(
    ("form", "damage", "words"),
    [
        ("sr2", table(CSV, one_place), ("do not give the scale", "data.mpp")),
        ("sr2", factors(microns_per_pixel=float("nan")), ("scalefactors_json.json", "microns_per_pixel is nan")),
        ("hd", factors(microns_per_pixel="0.25"), ("scalefactors_json.json", "microns_per_pixel is '0.25'")),
        ("liver", table(POS, lambda t: t[[0, 1, 2, 3]].assign(row=9, column=9)), ("section A1", "do not give the scale")),
    ],
)
def test_files_that_do_not_give_the_scale(
    form: str, damage: Damage, words: tuple[str, ...], fails: Any, train: Any, spoil: Any
) -> None:
    root = spoil(form, damage)
    tested = {"liver": "D1"}.get(form, "toy2")
    fails(train(of("liver" if form == "liver" else "visium", root, tested, mpp=None)), *words)


def rows(path: Path, change: Callable[[list[str]], list[str]], separator: str) -> None:
    path.write_text("\n".join(separator.join(change(line.split(separator))) for line in path.read_text().splitlines()))


def test_cells_that_no_column_is_for(fails: Any, train: Any, copies: Any) -> None:
    root = copies("st2k")
    path = root / "toy1/alignment_table_toy1.tsv"
    rows(path, lambda cells: cells if cells[0] == "x" else [*cells, "9"], "\t")
    fails(train(of("st2k", root, "toy2")), "alignment_table_toy1.tsv", "more cells than its header")
    path = copies("folder") / "train.csv"
    rows(path, lambda cells: cells if cells[0] == "ID" else [*cells, "9"], ",")
    fails(train(of("folder", path, "toy2")), "train.csv", "more cells than its header")


def test_a_column_without_a_name(fails: Any, train: Any, copies: Any) -> None:
    path = copies("folder") / "train.csv"
    pd.read_csv(path).to_csv(path)
    fails(train(of("folder", path, "toy2")), "column 1 has no name", "index=False")


@pytest.mark.parametrize(("value", "words"), [("1e300", "not numbers"), ("9" * 30, "expected numbers"), ("1e999", "expected")])
def test_a_count_too_large_for_a_number(value: str, words: str, fails: Any, train: Any, copies: Any) -> None:
    path = copies("folder") / "train.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[3, "TOY05"] = value
    table.to_csv(path, index=False)
    fails(train(of("folder", path, "toy2")), words)
    path = copies("her2st") / "toy1/toy1.tsv.gz"
    table = pd.read_csv(path, sep="\t", index_col=0, dtype=str)
    table.iloc[3, 4] = value
    table.to_csv(path, sep="\t")
    fails(train(of("her2st", path.parents[1], "toy2")), words)


def test_a_section_without_a_patient(fails: Any, train: Any, copies: Any) -> None:
    root = copies("st2k")
    pd.DataFrame({"section": ["toy1", "toy2"], "patient": [None, "b"]}).to_csv(root / "sections.csv", index=False)
    fails(train(of("st2k", root, "toy2")), "sections.csv", "no patient")


def test_spots_on_one_place_do_not_give_the_scale(fails: Any, train: Any, copies: Any) -> None:
    root = copies("st2k")
    path = root / "toy1/alignment_table_toy1.tsv"
    pd.read_csv(path, sep="\t").assign(pixel_x=9, pixel_y=9).to_csv(path, sep="\t", index=False)
    fails(train(of("st2k", root, "toy2", mpp=None)), "section toy1", "do not give the scale", "data.mpp")
