"""`bleep index`: build, info, add, remove, merge and verify."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bleep.cli import app

Fails = Callable[..., str]
Run = Callable[..., Path]


def done(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    capsys.readouterr()
    assert app.main([str(word) for word in command]) == 0
    return capsys.readouterr().out


def test_an_index_grows_shrinks_and_is_verified(run_copy: Run, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_copy()
    add = ("index", "add", "--run", run, "--images", files / "st2k", "--sections", "toy4", "--allow-held-out")
    out = done(capsys, *add, "--patient", "someone")
    assert "spots of toy4" in out
    assert "spots of toy1, toy2, toy4; finds" in out
    out = done(capsys, "index", "info", "--run", run)
    assert "toy4: " in out
    assert "patient someone, held out" in out
    assert "fits the run" in out
    assert "of the true 10 neighbours" in out
    assert "dense: " in out
    assert "whole; " in done(capsys, "index", "verify", "--run", run)
    out = done(capsys, "index", "remove", "--run", run, "--patient", "someone")
    assert "111 spots of toy1, toy2; " in out
    assert "whole; 111 spots of toy1, toy2" in done(capsys, "index", "verify", "--run", run)


def test_another_index_is_merged(run_copy: Run, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = run_copy(name="one"), run_copy(name="other")
    for run, section in ((one, "toy3"), (other, "toy4")):
        command = ("index", "add", "--run", run, "--images", files / "st2k", "--sections", section, "--allow-held-out")
        done(capsys, *command)
    assert "toy1, toy2, toy3, toy4; " in done(capsys, "index", "merge", other, "--run", one)
    done(capsys, "index", "verify", "--run", one)


def test_the_index_is_built_as_the_flags_say(run_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_copy()
    done(capsys, "index", "build", "--run", run, "--index.kind", "ivf", "--index.expression", "sparse")
    out = done(capsys, "index", "info", "--run", run)
    assert "index.kind is ivf" in out
    assert "sparse: index.expression is sparse" in out
    assert (run / "reference" / "expression-1.data.npy").exists()
    done(capsys, "index", "verify", "--run", run)


def test_auto_says_why(run_copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_copy()
    done(capsys, "index", "build", "--run", run, "--index.kind", "auto")
    assert "few enough to search exactly" in done(capsys, "index", "info", "--run", run)


def test_test_tissue_is_refused(fails: Fails, run_copy: Run, files: Path) -> None:
    run = run_copy()
    fails(["index", "add", "--run", run, "--images", files / "st2k", "--sections", "toy3"], "toy3: is held out", "--allow-held")


def test_what_is_there_is_not_added_again(fails: Fails, run_copy: Run, files: Path) -> None:
    add = ["index", "add", "--run", run_copy(), "--images", files / "st2k", "--sections", "toy1"]
    fails(add, "toy1: is in the index already")


def test_logarithms_are_not_added_to_counts(fails: Fails, run_copy: Run, copies: Callable[[str], Path]) -> None:
    run, path = run_copy(), copies("st2k") / "toy3" / "toy3.tsv.gz"
    np.log1p(pd.read_csv(path, sep="\t", index_col=0)).to_csv(path, sep="\t")
    add = ["index", "add", "--run", run, "--images", path.parents[1], "--sections", "toy3", "--allow-held-out"]
    fails(add, "toy3: holds fractions as small as logarithms, but this run takes counts")


def test_a_place_without_sections(fails: Fails, run_copy: Run, tmp_path: Path) -> None:
    run = run_copy()
    fails(["index", "add", "--run", run, "--images", tmp_path / "nowhere"], "nowhere: no such file")
    (tmp_path / "empty").mkdir()
    fails(["index", "add", "--run", run, "--images", tmp_path / "empty"], "no section of the form st2k is there")


def test_what_is_not_there_is_not_removed(fails: Fails, run_copy: Run) -> None:
    run = run_copy()
    fails(["index", "remove", "--run", run, "--section", "toy7"], "no spots of section 'toy7'", "toy1, toy2")
    fails(["index", "remove", "--run", run, "--patient", "donor1"], "alone")


def test_an_index_of_another_run_is_not_merged(fails: Fails, run_copy: Run, recipe: Any, tmp_path: Path) -> None:
    from bleep.config import Config
    from bleep.workflows.fit import fit
    from bleep.workflows.query import build_reference

    other = fit(Config.load(recipe(tmp_path / "other", {"seed": 5, "optim": {"epochs": 1}})))
    build_reference(other).save(tmp_path / "other" / "reference")
    fails(["index", "merge", tmp_path / "other", "--run", run_copy()], "other weights", "only indexes of one run")
    fails(["index", "merge", tmp_path / "gone", "--run", tmp_path / "other"], "gone: there is no index")


def test_no_index_to_change(fails: Fails, run_copy: Run, files: Path) -> None:
    run = run_copy()
    shutil.rmtree(run / "reference")
    for command in (["remove", "--section", "toy1"], ["verify"], ["merge", run], ["info"]):
        fails(["index", *command, "--run", run], "there is no index", "bleep index build")
    add = ["index", "add", "--run", run, "--images", files / "st2k", "--sections", "toy3", "--allow-held-out"]
    fails(add, "there is no index")


def test_a_damaged_index_does_not_pass(fails: Fails, run_copy: Run) -> None:
    run = run_copy()
    path = run / "reference" / "vectors.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 64
    path.write_bytes(bytes(raw))
    fails(["index", "verify", "--run", run], "vectors.npy has another sha256", "bleep index build")
