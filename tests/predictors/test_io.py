"""Predictions as files: blocks written one after another give the file of the whole."""

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from bleep.data.prediction import Prediction
from bleep.errors import ConfigError, DataError
from bleep.predictors.io import SUFFIXES, write_blocks, write_frames, write_prediction

rng = np.random.default_rng(0)


def prediction(tiles: int = 30, genes: int = 4) -> Prediction:
    sections = np.where(np.arange(tiles) < 20, "one", "two")
    spots = pd.DataFrame(
        {
            "section": sections,
            "spot": [f"s{row}" for row in range(tiles)],
            "patient": sections,
            "x": np.arange(tiles, dtype=np.float64),
            "y": np.arange(tiles, dtype=np.float64) * 2,
            "grid_x": np.arange(tiles),
        }
    ).set_index(pd.Index([f"{section}/s{row}" for row, section in enumerate(sections)], name="id"))
    values = rng.normal(size=(2, tiles, genes)).astype(np.float32)
    names = tuple(f"G{gene}" for gene in range(genes))
    made = Prediction(values[0], spots, names, "log1p", "made up", spread=values[1])
    return made.replaced(uns={"bleep": {**made.facts, "mpp": [0.5, 1.0]}})


def cut(whole: Prediction, *ends: int) -> list[Prediction]:
    return [whole[a:b] for a, b in zip((0, *ends), (*ends, len(whole)), strict=True)]


def pictured(part: Prediction, section: str, pixel: int, diameter: float) -> Prediction:
    images = {"hires": np.full((5, 6, 3), pixel, np.uint8)}
    library = {"images": images, "scalefactors": {"tissue_hires_scalef": 0.5, "spot_diameter_fullres": diameter}}
    return part.replaced(uns=part.adata.uns | {"spatial": {section: library}})


def read(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_blocks_give_the_anndata_of_the_whole(suffix: str, tmp_path: Path) -> None:
    whole = prediction()
    write_blocks(iter(cut(whole, 7, 20)), 30, tmp_path / f"p{suffix}")
    found, expected = read(tmp_path / f"p{suffix}"), whole.to_anndata()
    np.testing.assert_array_equal(found.X, whole.expression)
    np.testing.assert_array_equal(found.layers["spread"], whole.spread)
    np.testing.assert_array_equal(found.obsm["spatial"], expected.obsm["spatial"])
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == list(whole.genes)
    assert list(found.obs.columns) == list(expected.obs.columns)
    assert found.obs["section"].dtype == "category"
    assert found.uns["bleep"]["scale"] == "log1p"
    assert list(found.uns["bleep"]["mpp"]) == [0.5, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == [f"p{suffix}"]


def test_what_is_written_is_what_anndata_writes(tmp_path: Path) -> None:
    whole = prediction()
    write_prediction(whole, tmp_path / "ours.h5ad")
    whole.to_anndata().write_h5ad(tmp_path / "theirs.h5ad")
    ours, theirs = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("ours", "theirs"))
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    np.testing.assert_array_equal(ours.X, theirs.X)
    assert ours.X.dtype == theirs.X.dtype
    assert set(ours.layers) == set(theirs.layers)
    assert set(ours.uns) == set(theirs.uns)
    with h5py.File(tmp_path / "ours.h5ad") as file:
        assert set(file["layers"]) == {"spread"}
    anndata.read_h5ad(tmp_path / "ours.h5ad", backed="r").file.close()


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_float16_keeps_three_digits(suffix: str, tmp_path: Path) -> None:
    whole = prediction()
    write_blocks([whole], 30, tmp_path / f"p{suffix}", "float16")
    found = read(tmp_path / f"p{suffix}")
    assert found.X.dtype == np.float16
    np.testing.assert_allclose(found.X.astype(np.float32), whole.expression, rtol=1e-3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_blocks_give_the_table_of_the_whole(suffix: str, tmp_path: Path) -> None:
    whole = prediction()
    write_blocks(iter(cut(whole, 7, 20)), 30, tmp_path / f"p{suffix}")
    found = pd.read_csv(tmp_path / "p.csv") if suffix == ".csv" else pd.read_parquet(tmp_path / "p.parquet")
    assert list(found.columns) == ["section", "spot", "x", "y", "grid_x", *whole.genes]
    pd.testing.assert_frame_equal(found, whole.to_frame().reset_index(drop=True), check_dtype=False, rtol=1e-6)
    with pytest.raises(ConfigError, match="tables are written in full"):
        write_blocks([whole], 30, tmp_path / f"p{suffix}", "float16")


def test_pictures_of_all_slides_are_gathered(tmp_path: Path) -> None:
    first, second = cut(prediction(), 20)
    blocks = [pictured(first, "one", 9, 3.0), pictured(second, "two", 10, 4.0)]
    write_blocks(blocks, 30, tmp_path / "p.h5ad")
    found = read(tmp_path / "p.h5ad").uns["spatial"]
    assert set(found) == {"one", "two"}
    np.testing.assert_array_equal(found["two"]["images"]["hires"], np.full((5, 6, 3), 10))
    assert [found[name]["scalefactors"]["spot_diameter_fullres"] for name in ("one", "two")] == [3.0, 4.0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_in_the_middle_leaves_the_file_that_was_there(suffix: str, tmp_path: Path) -> None:
    whole = prediction()
    write_prediction(whole, tmp_path / f"p{suffix}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def failing() -> object:
        yield cut(whole, 7)[0]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_blocks(failing(), 30, tmp_path / f"p{suffix}")  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a name ending in \.h5ad, \.zarr, \.csv, \.parquet"):
        write_prediction(prediction(), tmp_path / "p.xlsx")


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_float16_refuses_what_it_cannot_hold(suffix: str, tmp_path: Path) -> None:
    whole = prediction(4)
    expression = whole.expression.copy()
    expression[2, 1] = 70_000
    with pytest.raises(DataError, match=r"70000 is larger than it can hold \(65504\)"):
        write_blocks([whole.replaced(X=expression)], 4, tmp_path / f"p{suffix}", "float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], ["a,b", 'say "c"', "two\nlines", "=1+1"]])
def test_a_csv_holds_every_number_as_it_is_and_words_as_pandas_writes_them(tmp_path: Path, names: list[str]) -> None:
    numbers = np.float32([1, -0.0, 1 / 3, 1e-7, 12345678, 3.4e38, 1e-45, np.nan])
    table = pd.DataFrame({
        "tile": names, "rank": [1, 2, 3, 4], "label": ["x", None, "y", "x"], "near": [True, False, True, True],
        "small": numbers[:4], "any": numbers[4:],
    })  # fmt: skip
    write_frames([table, table], tmp_path / "t.csv")
    found = pd.read_csv(tmp_path / "t.csv")
    cells = ["'=1+1" if name == "=1+1" else name for name in names]
    wanted = pd.concat([table.assign(tile=cells)] * 2, ignore_index=True)
    pd.testing.assert_frame_equal(found.astype({"small": "f4", "any": "f4"}), wanted, check_exact=True)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == '"tile",rank,label,near,small,any'
    if names[0] == "a":
        assert lines[1] == "a,1,x,True,1,12345678"
