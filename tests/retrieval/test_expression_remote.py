"""Expression in a Zarr store elsewhere: the same bits, read for the spots asked for, refused when it is gone or changed."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bleep.cli.app import main
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.retrieval.reference import Reference, expression_remote
from bleep.retrieval.reference.expression_store import SplicedExpression
from bleep.retrieval.reference.expression_writer import open_expression, stored, write_expression

pytest.importorskip("zarr.codecs", reason="Zarr 3 is not installed: pip install -e '.[remote]'")
FORMS = ("dense", "half", "sparse")


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((500, 7)) * 8 * (rng.random((500, 7)) < 0.4)).astype(np.float32)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a server of this machine's own that speaks S3."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[remote]'")
    import s3fs

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {key: os.environ.get(key) for key in given}
    os.environ |= given
    s3fs.S3FileSystem().mkdir("atlas")
    yield "s3://atlas/values"
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
    server.stop()


@pytest.fixture(params=["path", "file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return {"path": f"{tmp_path}/far", "file": f"file://{tmp_path}/far", "memory": f"memory://{tmp_path.name}"}[request.param]


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many blocks and shards of few spots."""
    monkeypatch.setattr(expression_remote, "BLOCK", 100)
    monkeypatch.setattr(expression_remote, "SHARD", 2000)
    monkeypatch.setattr(expression_remote, "AT_ONCE", 700)
    monkeypatch.setattr(expression_remote, "HELD", 900)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_is_what_was_kept_at_any_place(
    form: str, url: str, values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    store, _ = stored([values], form)  # type: ignore[arg-type]
    write_expression(store, tmp_path, "expression", url)
    assert sorted(path.name for path in tmp_path.glob("expression*")) == ["expression.json"]
    kept = open_expression(tmp_path, "expression", 7)
    assert (kept.form, kept.shape, kept.dtype, len(kept)) == (form, (500, 7), store.dtype, 500)
    rng = np.random.default_rng(1)
    for rows in (np.array([499, 0, 3, 3]), rng.integers(0, 500, 900), np.arange(500), np.empty(0, np.int64)):
        assert kept.rows(rows).tobytes() == store.rows(rows).tobytes()
        assert (kept.sparse_rows(rows) != store.sparse_rows(rows)).nnz == 0
    spliced = SplicedExpression((kept, store), (np.array([5, 499]), np.array([2])))
    np.testing.assert_array_equal(spliced.rows(np.array([2, 0])), store.rows(np.array([2, 5])))


def test_only_blocks_of_the_spots_asked_for_are_read_and_the_last_are_kept(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    write_expression(stored([values], "dense")[0], tmp_path, "expression", f"{tmp_path}/far")
    kept = open_expression(tmp_path, "expression", 7)
    assert isinstance(kept, expression_remote.RemoteExpression)
    read: list[int] = []
    once = kept._read
    monkeypatch.setattr(kept, "_read", lambda rows: read.append(len(rows)) or once(rows))
    kept.rows(np.array([4, 5, 400, 4]))
    assert read == [6]  # two blocks of three spots
    kept.rows(np.array([3, 401]))
    assert read == [6]
    kept.rows(np.arange(100))
    assert sum(part.nbytes for part in kept._kept.values()) <= 900


def test_a_shard_that_is_gone_and_one_that_is_damaged_are_said(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    write_expression(stored([values], "dense")[0], tmp_path, "expression", f"{tmp_path}/far")
    shard = next(iter(sorted((tmp_path / "far").glob("*/c/1/0"))))
    whole = shard.read_bytes()
    shard.unlink()
    kept = open_expression(tmp_path, "expression", 7)
    kept.rows(np.arange(10))
    with pytest.raises(DataError, match="lacks a part of its values"):
        kept.rows(np.arange(500))
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(80) + whole[120:]):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read"):
            open_expression(tmp_path, "expression", 7).rows(np.arange(500))


def test_a_store_that_is_gone_or_another_is_refused(values: np.ndarray, tmp_path: Path) -> None:
    for name, part in (("one", values), ("two", values + 1)):
        (tmp_path / name).mkdir()
        write_expression(stored([part], "dense")[0], tmp_path / name, "expression", f"{tmp_path}/far-{name}")
    (one,), (two,) = (tmp_path / "far-one").iterdir(), (tmp_path / "far-two").iterdir()
    with pytest.raises(MismatchError, match=r"its shape is \(500, 7\), .* says \(500, 8\)"):
        open_expression(tmp_path / "one", "expression", 8)
    shutil.rmtree(one)
    with pytest.raises(DataError, match="holds no store of expression any more"):
        open_expression(tmp_path / "one", "expression", 7)
    shutil.copytree(two, one)
    with pytest.raises(MismatchError, match=r"its digest is .* it was changed or replaced"):
        open_expression(tmp_path / "one", "expression", 7)
    tree = json.loads((two / "zarr.json").read_text())
    tree["codecs"][0]["configuration"]["codecs"].append({"name": "pickle"})
    (two / "zarr.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="codec 'pickle'"):
        open_expression(tmp_path / "two", "expression", 7)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://me:secret@host/atlas", "holds a name or a password"),
        ("far/away", "expected a URL such as"),
        ("nothing://host/atlas", "cannot be written"),
    ],
)
def test_places_that_cannot_be_are_refused(url: str, said: str, values: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        write_expression(stored([values], "dense")[0], tmp_path, "expression", url)


def stores(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*")) if place.exists() else []


@pytest.mark.parametrize("form", FORMS)
def test_predictions_from_elsewhere_are_the_same_bytes(
    form: str, run_copy: Callable[..., Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far, folder = tmp_path / "far", run_copy()
    words = ["query", "--run", str(folder), "--images", str(files / "st2k")]
    build = ["index", "build", "--run", str(folder), "--index.expression", form]
    for where, more in (("here", []), ("far", ["--index.expression_url", f"file://{far}"])):
        assert main([*build, *more]) == 0
        assert main([*words, "--out", str(tmp_path / f"{where}.csv")]) == 0
    assert (tmp_path / "far.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert len(stores(far)) == 1
    assert main(["index", "verify", "--run", str(folder)]) == 0
    assert main(["index", "info", "--run", str(folder)]) == 0
    assert f"at file://{far}" in capsys.readouterr().out


def test_a_change_writes_another_store_and_removes_the_old_and_what_a_killed_writer_left(
    run_copy: Callable[..., Path], tmp_path: Path
) -> None:
    far, folder = tmp_path / "far", run_copy()
    build = ["index", "build", "--run", str(folder)]
    assert main([*build, "--index.expression_url", str(far)]) == 0
    (first,) = stores(far)
    before = Reference.load(folder / "reference")
    left, other = first[:-10] + "killed.zarr", "expression-of-others.zarr"
    for name in (left, other):
        (far / name).mkdir()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    section = before.manifest["sections"][0]["name"]
    assert main(["index", "remove", "--section", section, "--run", str(folder)]) == 0
    assert len(stores(far)) == 2
    assert other in stores(far)
    assert first not in stores(far)
    after = Reference.load(folder / "reference")
    kept = np.flatnonzero((before.spots["section"] != section).to_numpy())
    np.testing.assert_array_equal(after.vectors, before.vectors[kept])
    # A copy of the folder is told that its store is gone, and makes it again.
    assert main(["query", "--run", str(copy), "--images", "x"]) == 2
    with pytest.raises(DataError, match="holds no store of expression any more"):
        Reference.load(copy / "reference")
    assert main(["index", "build", "--run", str(copy), "--index.expression_url", str(far)]) == 0
    assert len(stores(far)) == 3
    assert main(["index", "verify", "--run", str(folder)]) == 0
    assert main(build) == 0
    assert len(stores(far)) == 2
    assert main(["index", "verify", "--run", str(copy)]) == 0


def test_verify_finds_values_that_were_changed(
    run_copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zarr

    folder, far = run_copy(), tmp_path / "far"
    assert main(["index", "build", "--run", str(folder), "--index.expression_url", str(far)]) == 0
    array = zarr.open_array(far / stores(far)[0], mode="r+")
    array[3, 2] = array[3, 2] + 1
    assert main(["index", "verify", "--run", str(folder)]) == 2
    assert "have another sha256 than was noted" in capsys.readouterr().err


def test_nothing_of_the_environment_is_written_into_a_run(run_copy: Callable[..., Path], bucket: str) -> None:
    folder = run_copy()
    assert main(["index", "build", "--run", str(folder), "--index.expression_url", bucket]) == 0
    assert main(["index", "verify", "--run", str(folder)]) == 0
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"hush-hush" not in path.read_bytes()


def test_a_server_that_is_gone_ends_in_a_sentence(run_copy: Callable[..., Path], bucket: str, warm: Path) -> None:
    folder = run_copy()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free.getsockname()[1]}", "AWS_MAX_ATTEMPTS": "1"}
    words = [warm / "bleep", "index", "build", "--run", folder, "--index.expression_url", bucket]
    done = subprocess.run(words, env={**os.environ, **gone}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    Reference.load(folder / "reference")


KILLED = """
import os, signal, sys, numpy as np
from pathlib import Path
from bleep.retrieval.reference import Reference, expression_remote
expression_remote.digest_of = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
reference = Reference.load(sys.argv[1])
reference.save(sys.argv[1])
"""


def test_a_killed_writer_leaves_the_reference_as_it_was_and_the_next_cleans_up(
    run_copy: Callable[..., Path], tmp_path: Path, warm: Path
) -> None:
    folder, far = run_copy(), tmp_path / "far"
    assert main(["index", "build", "--run", str(folder), "--index.expression_url", str(far)]) == 0
    before = stores(far)
    done = subprocess.run([warm / "python", "-c", KILLED, folder / "reference"], check=False)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert len(stores(far)) == 2
    assert main(["index", "verify", "--run", str(folder)]) == 0
    assert main(["index", "build", "--run", str(folder), "--index.expression_url", str(far)]) == 0
    assert len(stores(far)) == 1
    assert stores(far) != before
