"""What bleep predicted is not read as measured tissue, whatever file or folder it lies in."""

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from bleep.config import DataConfig
from bleep.data.prediction import Prediction
from bleep.data.readers import read_sections
from bleep.data.readers.forms import form_of
from bleep.data.readers.h5ad import from_anndata
from bleep.data.tiles import Tiles, TileSpec
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.marks import is_prediction
from bleep.predictors.io import write_prediction
from bleep.viz.export import write_spatialdata
from bleep.viz.export.reading import opened

TOY = toy_section("toy", "donor", 3, side=256, pitch=32)
ANOTHER = "is a prediction of bleep, not measured tissue"


def predicted() -> Prediction:
    tiles = Tiles((TOY,), TileSpec(32, (64.0,)))
    found = Prediction(np.ones((len(tiles), 2), np.float32), tiles, ("A", "B"), "log1p of counts", "retrieval")
    scales = {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 20.0}
    found.adata.uns["spatial"] = {"toy": {"images": {"hires": TOY.slide.region(0, 0, 256, "white")}, "scalefactors": scales}}
    return found


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of a measured section and of what was predicted of it."""
    folder = tmp_path / "mine"
    measured = predicted().adata.copy()
    del measured.uns["bleep"]
    folder.mkdir()
    measured.write_h5ad(folder / "a.h5ad")
    write_prediction(predicted(), folder / "predictions.h5ad")
    return folder


def of(root: Path, source: str = "h5ad") -> DataConfig:
    return DataConfig.model_validate({"source": source, "root": root, "mpp": 1.0})


def test_a_folder_is_read_without_the_predictions_in_it_and_says_so(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    for purpose in ("training", "query", "check"):
        caplog.clear()
        assert [section.name for section in read_sections(of(mine), purpose=purpose)] == ["a"]  # type: ignore[arg-type]
        assert [r.message for r in caplog.records if ANOTHER.removeprefix("is ") in r.message] == [
            f"left out {mine / 'predictions.h5ad'}: a prediction of bleep, not measured tissue"
        ]


def test_a_prediction_that_is_named_is_refused_as_measured_tissue_and_can_be_queried(
    mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (mine / "a.h5ad").unlink()
    for root in (mine, mine / "predictions.h5ad"):
        with pytest.raises(DataError, match=f"predictions.h5ad: {ANOTHER}"):
            read_sections(of(root))
        caplog.set_level(logging.WARNING)
        (section,) = read_sections(of(root), purpose="query")
        assert len(section.genes) == 0
        assert ANOTHER in caplog.text
    (section,) = from_anndata(predicted().adata, mpp=1.0)
    assert len(section.genes) == 0


def test_the_form_of_a_folder_is_not_that_of_its_predictions(mine: Path) -> None:
    assert form_of(mine) == ("h5ad", "a.h5ad is there")
    (mine / "a.h5ad").unlink()
    with pytest.raises(DataError, match=f"predictions.h5ad: {ANOTHER}"):
        form_of(mine)
    (mine / "train.csv").write_text("ID,path,A\na,a.png,1\n")
    assert form_of(mine) == ("folder", "train.csv is there")


def test_a_damaged_file_is_told_by_its_reader(mine: Path) -> None:
    (mine / "b.h5ad").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"b\.h5ad"):
        read_sections(of(mine))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5ad")
    assert not is_prediction(tmp_path / "a.h5ad")


def test_an_exported_store_is_left_out_beside_others_and_refused_alone(mine: Path, tmp_path: Path) -> None:
    pytest.importorskip("spatialdata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(mine / "predictions.h5ad") as found:
            write_spatialdata(found, tmp_path / "out.zarr")
    with pytest.raises(DataError, match=f"out.zarr: {ANOTHER}"):
        read_sections(of(tmp_path / "out.zarr", "spatialdata"))
    with pytest.raises(DataError, match=f"out.zarr: {ANOTHER}"):
        read_sections(of(tmp_path, "spatialdata"))
    assert form_of(tmp_path)[0] == "h5ad"
