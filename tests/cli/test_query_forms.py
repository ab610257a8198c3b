"""What `bleep query` takes beside tiles, and that what it says can be done by its own flags."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from anndata import AnnData

from bleep.cli import app, by_flags
from bleep.config import Config
from bleep.data.slides import save_png
from bleep.errors import DataError, MismatchError
from bleep.runs import Run
from bleep.workflows.query import open_tiles

Fails = Callable[..., str]


@pytest.fixture
def bare(toys: tuple[Any, ...], tmp_path: Path) -> Path:
    """A section without a picture of its own, whose picture lies beside it."""
    toy = toys[3]
    data = AnnData(np.ones((len(toy), 1), np.float32), obs=pd.DataFrame(index=toy.counts.obs_names))
    data.obsm["spatial"] = toy.xy
    data.write_h5ad(tmp_path / "bare.h5ad")
    save_png(toy.slide.region(0, 0, 256, "white"), tmp_path / "bare.png")
    return tmp_path / "bare.h5ad"


@pytest.mark.parametrize("source", ["st2k", "h5ad"])
def test_a_section_in_any_form_is_predicted_from_the_picture_that_is_named(
    source: str, bare: Path, run_copy: Callable[..., Path], fails: Fails
) -> None:
    run = run_copy()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["source"] = source
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    query = ["query", "--images", str(bare), "--mpp", "1", "--run", str(run), "--out", "found.h5ad"]
    fails(query, "holds no picture of section bare; name the picture's file with --image")
    assert app.main([*query, "--image", "{name}.png"]) == 0
    assert len(anndata.read_h5ad("found.h5ad")) > 40
    fails(
        [*query[:3], "--mpp", "0.0001", *query[5:], "--image", "bare.png"], "correct --mpp, or train with lower tiles.microns"
    )
    fails([*query, "--image", "bare.png", "--out", "bare.png", "--overwrite"], "--out bare.png")


def test_ways_out_are_flags_of_the_query(run_copy: Callable[..., Path], files: Path, bare: Path, fails: Fails) -> None:
    run, tiles = run_copy(), files / "folder" / "test.csv"
    fails(
        ["query", "--slides", "nope.tif", "--run", run],
        "nope.tif: no such file or folder; expected a slide, or a folder of slides",
    )
    fails(["query", "--images", tiles, "--mpp", 0.1, "--run", run], "cut larger tiles, give another --mpp, or train with lower")
    fails(
        ["query", "--images", tiles, "--image", "a.png", "--run", run], "--image a.png: belongs to sections of visium", "folder"
    )
    fails(["query", "--slides", "a.tif", "--image", "a.png", "--run", run], "--image: belongs to --images")


def test_the_scale_that_is_proposed_is_that_of_the_largest_window(trained: dict[str, Path], files: Path) -> None:
    before = Run.load(trained["contrastive"])
    run = replace(before, config=Config.load(before.config.dump(), {"data": {"mpp": None}, "tiles": {"microns": [32.0, 64.0]}}))
    with pytest.raises(MismatchError, match=r"if a tile shows 64 microns"):
        open_tiles(files / "folder" / "test.csv", run)


def test_settings_in_a_sentence_become_flags_but_once() -> None:
    flags = {"data.mpp": "--mpp", "data.image": "--image"}
    for told, expected in (
        ("set data.mpp, or data.image_scale", "set --mpp, or data.image_scale"),
        ("correct data.mpp (--mpp)", "correct data.mpp (--mpp)"),
        ("give it with --mpp or data.mpp", "give it with --mpp or data.mpp"),
        ("train with --data.mpp", "train with --data.mpp"),
    ):
        with pytest.raises(DataError) as caught, by_flags(flags):
            raise DataError(told)
        assert str(caught.value) == expected
