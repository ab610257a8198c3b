"""Files from elsewhere are looked at before a library reads them."""

import json
import os
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import zarr
from PIL import Image

from bleep.data.readers.annotated import read_h5ad
from bleep.data.slides.image import opened
from bleep.errors import DataError
from bleep.guards import check_h5, check_zarr


@pytest.mark.parametrize("form", [2, 3])
def test_stores_of_numbers_and_text_pass(form: int, tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=form)
    root.create_array("numbers", shape=(4, 4), dtype="float32", chunks=(2, 2))
    check_zarr(tmp_path / "a.zarr")


def test_a_codec_that_numbers_do_not_need_is_refused_before_it_is_used(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).create_array("numbers", shape=(4,), dtype="int8")
    facts = tmp_path / "a.zarr" / "numbers" / ".zarray"
    tree = json.loads(facts.read_text())
    facts.write_text(json.dumps(tree | {"filters": [{"id": "made-up-objects"}]}))
    with pytest.raises(DataError, match="codec 'made-up-objects'"):
        check_zarr(tmp_path / "a.zarr")
    facts.write_text(json.dumps(tree | {"chunks": [10**12]}))
    with pytest.raises(DataError, match="expected at most"):
        check_zarr(tmp_path / "a.zarr")


def test_values_kept_in_another_file_and_sizes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    anndata.AnnData(np.ones((2, 2), np.float32)).write_h5ad(path)
    check_h5(path)
    with h5py.File(path, "a") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(DataError, match="linked is kept in another file"):
        read_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["linked"]
        file.create_dataset("beside", shape=(4,), dtype="int8", external=[(str(tmp_path / "raw"), 0, 4)])
    with pytest.raises(DataError, match="beside is kept in another file"):
        read_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["beside"]
        file.create_dataset("huge", shape=(10**6, 10**6), dtype="int8", chunks=(1000, 1000))
    with pytest.raises(DataError, match="huge is said to hold"):
        read_h5ad(path)


def test_a_picture_is_opened_by_what_it_is_and_a_pipe_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "named.eps", format="PNG")
    with opened(tmp_path / "named.eps") as image:
        assert image.format == "PNG"
    Image.new("RGB", (4, 4)).save(tmp_path / "named.png", format="PPM")
    with pytest.raises(DataError, match="cannot be read as an image"), opened(tmp_path / "named.png"):
        pass
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no plain file"), opened(tmp_path / "pipe.png"):
        pass
    os.mkfifo(tmp_path / "pipe.h5ad")
    with pytest.raises(DataError, match="no plain file"):
        read_h5ad(tmp_path / "pipe.h5ad")
