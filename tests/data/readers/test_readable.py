"""Files that are nearly what is expected: read by what they say, or answered by what is the matter and a way out."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.readers.tables import read_table
from bleep.data.section import Section
from bleep.errors import DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
TABLE = pd.DataFrame({"ID": ["s0", "s1"], "path": ["a.png", "b.png"], "section": ["Müller", "b"], "ACTB": [1.5, 2.0]})


def read(form: str, root: Path) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": form, "root": root, "mpp": 5.0}))
    return section


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sep": ";", "decimal": ","}, "looks separated by semicolons; expected commas: save it with these"),
        ({"sep": "\t"}, "looks separated by tabs; expected commas"),
        ({"encoding": "latin-1"}, "is not UTF-8 text .*; save it as CSV UTF-8"),
        ({"encoding": "utf-16"}, "is not UTF-8 text .*; save it as CSV UTF-8"),
    ],
)
def test_a_table_written_otherwise_is_answered_by_what_it_is(options: dict[str, str], words: str, tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False, **options)  # type: ignore[call-overload]
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "t.csv", ",", ("ID", "path"))


def test_a_parquet_is_no_damaged_table(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "t.csv")
    with pytest.raises(DataError, match="is a parquet file, but a text table is expected; save it as CSV"):
        read_table(tmp_path / "t.csv", ",")


def test_a_header_of_one_column_is_a_table(tmp_path: Path) -> None:
    TABLE[["ID"]].to_csv(tmp_path / "t.csv", index=False)
    assert list(read_table(tmp_path / "t.csv", ",")["ID"]) == ["s0", "s1"]


def test_a_hires_picture_called_jpeg_is_taken(tmp_path: Path) -> None:
    root = FILES.visium(FILES.tissue(), tmp_path)
    spatial = root / "s1" / "spatial"
    picture = Image.open(spatial / "tissue_hires_image.png")
    picture.resize((26, 24)).save(spatial / "tissue_lowres_image.png")
    picture.save(spatial / "tissue_hires_image.jpeg", quality=95)
    (spatial / "tissue_hires_image.png").unlink()
    assert read("visium", root).slide.size == picture.size


@pytest.mark.parametrize("names", [("pxl_row_in_fullres", "pxl_col_in_fullres"), ("y", "x"), ("one", "other")])
def test_a_table_of_positions_goes_by_its_names(names: tuple[str, str], tmp_path: Path) -> None:
    of = FILES.tissue()
    root = FILES.h5ad(of, tmp_path)
    (path,) = tmp_path.rglob("*.h5ad")
    data = anndata.read_h5ad(path)
    known = names != ("one", "other")
    held = of.spots[["y", "x"] if known else ["x", "y"]].to_numpy(np.float64)
    data.obsm["spatial"] = pd.DataFrame(held, columns=list(names), index=data.obs_names)
    data.write_h5ad(path)
    np.testing.assert_allclose(read("h5ad", root).xy, of.spots[["x", "y"]].to_numpy())
