"""Files from elsewhere are looked at before a library reads them."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image

from bleep import outputs as guards
from bleep.config import Config, DataConfig
from bleep.data.readers import read_sections
from bleep.data.readers.annotated import read_h5ad
from bleep.data.readers.spaceranger import read_h5
from bleep.data.readers.tables import read_table
from bleep.data.slides.image import opened
from bleep.errors import DataError
from bleep.features.ready import open_ready
from bleep.files import read_json
from bleep.outputs import PICTURES, check_gzip, check_h5, check_parquet, check_zarr


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


@pytest.mark.parametrize("above", ["plain", "images"])
def test_a_table_of_zarr_that_is_not_there_is_refused_wherever_the_store_lies(above: str, tmp_path: Path) -> None:
    store = tmp_path / above / "a.zarr"
    (store / "X").mkdir(parents=True)
    tree = {"zarr_format": 2, "shape": [10**6, 10**6], "chunks": [1000, 1000], "dtype": "|i1", "filters": None}
    (store / "X" / ".zarray").write_text(json.dumps(tree | {"compressor": None, "fill_value": 0, "order": "C"}))
    with pytest.raises(DataError, match="is said to hold"):
        check_zarr(store)


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


def test_a_picture_is_opened_by_what_it_is_whatever_it_is_called(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "named.eps", format="PNG")
    with opened(tmp_path / "named.eps") as image:
        assert image.format == "PNG"
    Image.new("RGB", (4, 4)).save(tmp_path / "named.png", format="PPM")
    with pytest.raises(DataError, match="cannot be read as an image"), opened(tmp_path / "named.png"):
        pass


@pytest.mark.parametrize("form", PICTURES)
def test_every_form_that_is_opened_is_read_by_the_module_named_beside_it(form: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a", format=form)
    with opened(tmp_path / "a") as image:
        assert (image.format, type(image).__module__) == (form, f"PIL.{PICTURES[form]}")


INPUTS = ("a.csv", "a.tsv.gz", "a.json", "a.yaml", "a.parquet", "a.h5", "a.h5ad", "a.png")


def _picture(path: Path) -> None:
    with opened(path):
        pass


def _readers(folder: Path) -> list[Callable[[], object]]:
    return [
        lambda: read_table(folder / "a.csv", ","),
        lambda: read_table(folder / "a.tsv.gz", "\t"),
        lambda: read_json(folder / "a.json", "something"),
        lambda: Config.load(folder / "a.yaml"),
        lambda: check_parquet(folder / "a.parquet"),
        lambda: open_ready(folder, "a"),
        lambda: read_sections(DataConfig(source="h5ad", root=folder)),
        lambda: _picture(folder / "a.png"),
    ]


def _link_to_device(path: Path) -> None:
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("put", [os.mkfifo, _link_to_device], ids=["pipe", "link to a device"])
def test_neither_a_pipe_nor_a_link_to_a_device_is_an_input_of_any_form(
    put: Callable[[Path], None], number: int, tmp_path: Path
) -> None:
    put(tmp_path / INPUTS[number])
    with pytest.raises(DataError, match="is no plain file but a pipe, a device"):
        _readers(tmp_path)[number]()


def test_a_table_that_declares_more_than_it_holds_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LARGE": 2_500, "RATIO": 20, "DENSE": 20}.items():
        monkeypatch.setattr(guards, name, value)
    alike, unlike = pd.DataFrame({"x": np.zeros(40_000)}), pd.DataFrame({"x": np.random.default_rng(0).random(40_000)})
    for name, table in (("alike", alike), ("unlike", unlike)):
        table.to_parquet(tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(table["x"].to_numpy().tobytes()))
        store = zarr.open_group(tmp_path / f"{name}.zarr", mode="w")
        stored = store.create_array("X", shape=(200, 200), dtype="float64", chunks=(50, 50))
        stored[:] = table["x"].to_numpy().reshape(200, 200)
    for check, end in ((check_parquet, "parquet"), (check_gzip, "csv.gz"), (check_zarr, "zarr")):
        check(tmp_path / f"unlike.{end}")
        with pytest.raises(DataError, match=r"is said to hold|unpacks to more"):
            check(tmp_path / f"alike.{end}")


def test_counts_and_features_that_reach_into_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("matrix", "features", "coords"):
            file[name] = h5py.ExternalLink("other.h5", "/x")
    for read in (lambda: read_h5(tmp_path / "a.h5"), lambda: open_ready(tmp_path, "a")):
        with pytest.raises(DataError, match="is kept in another file"):
            read()


def test_an_array_of_patches_that_declares_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "X.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 50, 50, 3)})
    np.save(tmp_path / "Y.npy", np.zeros(3, np.int64))
    with pytest.raises(DataError, match=r"X\.npy: cannot be read"):
        read_sections(DataConfig(source="patches", root=tmp_path))
