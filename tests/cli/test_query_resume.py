"""`bleep query` killed and started again, and shared by two processes."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from bleep.cli import app
from bleep.runs import Run

SLOWLY = """
import sys, time
from bleep.workflows import stream
stream.ROWS = 8
stream.Output.__init__.__defaults__ = (*stream.Output.__init__.__defaults__[:-1], 8)
kept = stream.Parts.add
def add(parts, prediction):
    kept(parts, prediction)
    print("kept", len(parts), flush=True)
    time.sleep(0.5)
if "slowly" in sys.argv:
    sys.argv.remove("slowly")
    stream.Parts.add = add
from bleep.cli import app
from bleep.runs import Run
sys.exit(app.main(sys.argv[1:]))
"""
"""The command with small blocks, which tells of each and then waits a while."""


def environment(**more: str) -> dict[str, str]:
    # The run is named in the environment under torchrun, which would take --run for an option of its own.
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", **more}


@pytest.mark.slow
def test_a_killed_query_goes_on_and_gives_the_same_file(
    trained: dict[str, Path], files: Path, warm: Path, tmp_path: Path
) -> None:
    (tmp_path / "slowly.py").write_text(SLOWLY)
    words = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--run", trained["contrastive"]]
    command = [warm / "python", str(tmp_path / "slowly.py"), *map(str, words), "--out"]
    out = tmp_path / "p.h5ad"
    child = subprocess.Popen(
        [*command, str(out), "slowly"],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("kept 3"):
            break
    child.kill()
    child.communicate()
    assert not out.exists()
    kept = sorted(path.name for path in (tmp_path / ".p.h5ad.parts").iterdir())
    assert kept[:3] == ["000000.h5ad", "000001.h5ad", "000002.h5ad"]
    before = (tmp_path / ".p.h5ad.parts" / "000000.h5ad").stat().st_mtime_ns
    assert before < time.time_ns()
    again = subprocess.run(
        [*command, str(out), "--resume", "slowly"], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "kept 4\n" in again.stdout
    assert "kept 3\n" not in again.stdout
    subprocess.run(
        [*command, str(tmp_path / "straight.h5ad")], env=environment(), cwd=tmp_path, capture_output=True, check=True
    )
    here, there = anndata.read_h5ad(out), anndata.read_h5ad(tmp_path / "straight.h5ad")
    np.testing.assert_array_equal(here.X, there.X)
    assert list(here.obs_names) == list(there.obs_names)
    assert (tmp_path / "p.neighbours.csv").read_bytes() == (tmp_path / "straight.neighbours.csv").read_bytes()
    assert not (tmp_path / ".p.h5ad.parts").exists()


WORLD = """
import atexit, os
def tell():
    import sys
    if "bleep.features" in sys.modules and "RANK" in os.environ:
        import torch.distributed as dist
        import bleep.features as reader
        with open(os.environ["TELL"] + "/rank" + os.environ["RANK"], "w") as file:
            file.write(str(reader.passed))
def watch():
    import bleep.features as reader
    reader.passed = 0
    compute = reader.FeatureReader._compute
    def counted(self, tiles, rows, bar):
        reader.passed += len(rows)
        return compute(self, tiles, rows, bar)
    reader.FeatureReader._compute = counted
if "RANK" in os.environ:
    watch()
    atexit.register(tell)
from bleep.cli import app
from bleep.runs import Run
import sys
sys.exit(app.main(sys.argv[1:]))
"""
"""The command, whose processes say at their end how many tiles each has passed through the trunk."""


@pytest.mark.slow
def test_two_processes_share_the_tiles_and_one_writes(run_copy: Any, files: Path, warm: Path, tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(WORLD)
    run = run_copy()
    launch = [warm / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    tiles = 0
    for count in (1, 2):
        # Caches of their own, so that either computes.
        text = (run / "config.yaml").read_text().splitlines()
        lines = [f"cache: {tmp_path / f'cache{count}'}" if line.startswith("cache:") else line for line in text]
        lines = ["  batch: 8" if line.startswith("  batch: 64") else line for line in lines]
        (run / "config.yaml").write_text("\n".join(lines))
        words = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--out", tmp_path / f"p{count}.h5ad"]
        command = [*(launch if count == 2 else [warm / "python"]), str(tmp_path / "counted.py"), *map(str, words)]
        done = subprocess.run(
            command,
            env=environment(TELL=str(tmp_path), BLEEP_RUN=str(run)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("tiles x") == 1
        found = anndata.read_h5ad(tmp_path / f"p{count}.h5ad")
        tiles = len(found)
    shares = [int((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)]
    assert sum(shares) == tiles
    assert min(shares) >= tiles // 3
    one, two = (anndata.read_h5ad(tmp_path / f"p{count}.h5ad") for count in (1, 2))
    np.testing.assert_array_equal(one.X, two.X)
    assert list(one.obs_names) == list(two.obs_names)
    assert (tmp_path / "p1.neighbours.csv").read_bytes() == (tmp_path / "p2.neighbours.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_build_the_index_of_one(run_copy: Any, warm: Path, tmp_path: Path) -> None:
    run = run_copy()
    launch = [warm / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bleep"]
    before = contents(run / "reference")
    done = subprocess.run(
        [*launch, "index", "build"],
        env=environment(BLEEP_RUN=str(run)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("next: bleep query") == 1
    assert contents(run / "reference") == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a reference whose bytes its spots decide, their generation left out of their names."""
    return {path.name.replace("-1.", "."): path.read_bytes() for path in folder.iterdir() if path.suffix in (".faiss", ".npy")}


def test_zarr_genes_and_precision_are_flags(trained: dict[str, Path], files: Path, tmp_path: Path) -> None:
    import yaml

    assert yaml.safe_load((trained["regression"] / "config.yaml").read_text())["loss"]["task"] == "regression"
    genes = Run.load(trained["regression"]).panel.genes
    words = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--run", trained["regression"]]
    more = ["--out", tmp_path / "p.zarr", "--genes", f"{genes[3]},{genes[0]}", "--dtype", "float16"]
    assert app.main([str(word) for word in (*words, *more)]) == 0
    found = anndata.read_zarr(tmp_path / "p.zarr")
    assert list(found.var_names) == [genes[3], genes[0]]
    assert found.X.dtype == np.float16


def test_bad_output_flags(
    fails: Any, trained: dict[str, Path], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--run", trained["regression"]]
    monkeypatch.setattr(
        "bleep.workflows.query.share_features", lambda *_: pytest.fail("the trunk must not run before what is asked is known")
    )
    fails([*words, "--genes", "NOGENE"], "--genes: the run's panel of 12 genes has no 'NOGENE'")
    gene = Run.load(trained["regression"]).panel.genes[3]
    fails([*words, "--genes", f"{gene},{gene}"], f"--genes: {gene!r} is named twice")
    fails([*words, "--out", tmp_path / "p.csv", "--dtype", "float16"], "float16 is for .h5ad and .zarr")
    (tmp_path / "folder.h5ad").mkdir()
    fails([*words, "--out", tmp_path / "folder.h5ad"], "folder.h5ad: cannot be written (a folder is there)")
