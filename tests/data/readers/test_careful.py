"""Every reader keeps every rule of care, or says why a rule does not apply: the table stands in docs/reference/files."""

import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bleep.data.readers import SOURCES
from bleep.data.readers import copied_picture as copied_among
from bleep.errors import DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
FORMS, RGB, Tissue, tissue = FILES.FORMS, FILES.RGB, FILES.Tissue, FILES.tissue
read, read_all, same = FILES.read, FILES.read_all, FILES.same


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
    if form in ("her2st", "st2k"):
        # Without a place in the array either; the column then holds fractions, and a spot is called 10x12 all the same.
        (path,) = (path for path in (root / "unused").rglob("*.tsv") if "selected" in path.read_text())
        table = pd.read_csv(path, sep="\t")
        table.assign(x=table["x"].where(table["selected"] == 1)).to_csv(path, sep="\t", index=False)
        assert same(read(form, root / "unused"), Tissue(of.spots.iloc[2:], of.counts[2:]))
    spots["used"] = 1
    with pytest.raises(DataError, match=r"no finite number|not a number|expected numbers|outside"):
        read(form, FORMS[form](replace(of, spots=spots), root / "used"))


def transparent(form: str, root: Path) -> None:
    """what is transparent is white, whatever colour stands there"""
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[22:38, 22:38] = 0
    slide = read(form, FORMS[form](replace(tissue(), picture=rgba), root / "in")).slide
    # The first spot lies at (30, 30), the third at (70, 30); ready-cut tiles stand in a row, patches by their class.
    if form in ("folder", "patches"):
        one, two = (0, 0), ((32, 0) if form == "folder" else slide.corners[1])
    else:
        one, two = (22, 22), (62, 22)
    assert (slide.region(*one, 16, "white") == 255).all()
    np.testing.assert_array_equal(slide.region(*two, 16, "white"), RGB[22:38, 62:78])


def deep(form: str, root: Path) -> None:
    """values of more than 8 bits are refused"""
    sixteen = RGB.astype(np.uint16) * 16
    writer = FORMS[form]
    if form in ("visium", "segmented"):
        place = writer(tissue(), root / "in")
        png = next(place.rglob("tissue_hires_image.png"))
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


PICTURES = {
    "visium": "{}/spatial/tissue_hires_image.png", "segmented": "{}/outs/segmented_outputs/spatial/tissue_hires_image.png",
    "xenium": "{}_he_image.ome.tif", "hest": "wsis/{}.tif", "her2st": "{0}/{0}.jpg", "st2k": "{0}/{0}.jpg",
    "liver": "GEX_C73_{}_Merged.tif", "folder": "tiles/{}_000.png", "patches": "{}/normal/000.png", "wsi": "{}.ome.tif",
}  # fmt: skip
"""Where the picture of a section, or a tile of it, lies below the root."""


def own_picture(form: str, root: Path) -> None:
    """one picture for two sections, also as a link, is refused"""
    if form == "spatialdata":
        FILES.write_store(tissue(), root, "s1", ("left", "right"))
    else:
        for name in ("s1", "s2"):
            FORMS[form](replace(tissue(), picture=np.roll(RGB, int(name[1]), axis=0)), root, name)
        assert len(read_all(form, root)) == 2
    more: dict[str, Any] = {}
    if form == "h5ad":
        Image.fromarray(RGB).save(root / "in" / "he.png")
        more = {"image": "he.png"}
    elif form in PICTURES:
        one, two = (root / PICTURES[form].format(name) for name in (("A1", "B1") if form == "liver" else ("s1", "s2")))
        two.unlink()
        two.symlink_to(one)
    with pytest.raises(DataError, match=r"is the same picture for sections '.+' and '.+'"):
        read_all(form, root, **more)


def copied_picture(form: str, root: Path) -> None:
    """a picture that is copied to a second section is said aloud, and by `bleep data check`"""
    for name in ("s1", "s2"):
        FORMS[form](replace(tissue(), picture=np.roll(RGB, 0 if form not in PICTURES else int(name[1]), axis=0)), root, name)
    if form in PICTURES:
        assert len(read_all(form, root)) == 2
        one, two = (root / PICTURES[form].format(name) for name in (("A1", "B1") if form == "liver" else ("s1", "s2")))
        shutil.copy(one, two)
    words = r"is the same picture for sections '.+' and '.+', a copy of"
    assert re.search(words, copied_among(read_all(form, root))[0])


RULES = (
    hidden_files, linked_folders, spots_beyond, unused_spots, transparent, deep, one_sample, own_picture, copied_picture,
)  # fmt: skip
NOT: dict[tuple[str, str], str] = {
    ("segmented", "unused_spots"): "every cell is used",
    ("xenium", "unused_spots"): "every cell is used",
    ("spatialdata", "unused_spots"): "every shape has a place",
    ("hest", "unused_spots"): "`in_tissue` has no meaning there",
    ("her2st", "transparent"): "JPEG has no transparency",
    ("st2k", "transparent"): "JPEG has no transparency",
    ("her2st", "deep"): "JPEG has 8 bits",
    ("st2k", "deep"): "JPEG has 8 bits",
    **{(form, "spots_beyond"): "a tile is its own picture" for form in ("folder", "patches")},
    ("wsi", "spots_beyond"): "the grid is laid on the picture",
    **{(form, "unused_spots"): "every tile is used" for form in ("folder", "patches", "wsi")},
    **{(form, "one_sample"): "tiles have no barcodes" for form in ("folder", "patches", "wsi")},
    **{(form, "copied_picture"): "glass looks alike: `bleep data check` tells" for form in ("folder", "patches")},
    ("her2st", "one_sample"): "spots are named by their place",
    ("st2k", "one_sample"): "spots are named by their place",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("form", FORMS)
def test_a_reader_keeps_a_rule(form: str, rule: Callable[[str, Path], None], tmp_path: Path) -> None:
    if (form, rule.__name__) not in NOT:
        rule(form, tmp_path)


def table() -> str:
    """Return the table as it stands in docs/reference/files, between its marks; docs/readers_table.py writes it there."""
    lines = ["| rule | " + " | ".join(f"`{form}`" for form in FORMS) + " |", "| --- |" + " --- |" * len(FORMS)]
    for rule in RULES:
        cells = [NOT.get((form, rule.__name__), "yes") for form in FORMS]
        lines.append(f"| {rule.__doc__} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_every_form_stands_in_the_table_and_the_table_in_the_documentation() -> None:
    # Toy tissue is drawn in memory: it has no files that could be careless.
    assert set(FORMS) == set(SOURCES) - {"toy"}
    text = (Path(__file__).parents[3] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    assert f"\n{table()}\n" in text, "docs/reference/files is older than its test: run docs/readers_table.py"
