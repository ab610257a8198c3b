"""The laws of an index, for FAISS and for Milvus alike: Milvus Lite always, a server where one can be started."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bleep.config import Config, IndexConfig
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation.metrics import pearson
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.retrieval.index import VectorIndex, build_index, load_index, measure, select
from bleep.retrieval.index import milvus_client as client
from bleep.retrieval.index.flat import ranked
from bleep.retrieval.index.milvus import MOST, PREFIX, MilvusIndex, _without_rounding
from bleep.retrieval.reference import Reference, change, verify
from bleep.runs import Run
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split

from .test_search import drawn, truth

COUNT = 400
Maker = Callable[..., VectorIndex]
SERVER = pytest.param("server", marks=pytest.mark.slow)
SPOTS = pd.DataFrame(
    {
        "section": [f"s{row % 5}" for row in range(COUNT)],
        "patient": ["it's P1" if row % 3 else 'the "other" one' for row in range(COUNT)],
        "organ": [None if row % 2 else "liver" for row in range(COUNT)],
        "x": np.linspace(-10, 10, COUNT),
    }
)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install --no-deps milvus-lite")
    return str(tmp_path_factory.mktemp("lite") / "atlas.db")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server of PyPI's milvus on loopback."""
    milvus = pytest.importorskip("milvus", reason="PyPI's milvus==2.3.5 is not installed: it brings a Milvus server")
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    started = milvus.MilvusServer()
    started.set_base_dir(str(tmp_path_factory.mktemp("server")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        started.listen_port = free.getsockname()[1]
    try:
        started.start()
    except Exception as error:
        pytest.skip(f"the Milvus server does not start here: {error}")
    yield f"http://127.0.0.1:{started.listen_port}"
    started.stop()


@pytest.fixture(params=["faiss", "lite", SERVER])
def make(request: pytest.FixtureRequest) -> Maker:
    """Return what builds an index in one of the stores."""
    store = "faiss" if request.param == "faiss" else "milvus"
    uri = "" if store == "faiss" else request.getfixturevalue(request.param)

    def made(vectors: np.ndarray, kind: str = "flat", spots: pd.DataFrame | None = None) -> VectorIndex:
        config = IndexConfig.model_validate({"store": store, "uri": uri, "kind": kind})
        return build_index(vectors, config, 3, queries=drawn(20, 9), spots=spots, run="r" * 64)

    return made


@pytest.fixture(params=["lite", SERVER])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_a_flat_index_is_brute_force_in_order(make: Maker) -> None:
    vectors, queries = drawn(COUNT, 0), drawn(40, 1)
    vectors[300:320] = vectors[7]  # equal ones
    queries[0] = vectors[7]
    for k in (1, 13, COUNT + 5):
        found = make(vectors).search(queries, k)
        similarity, rows = truth(vectors, queries, k)
        np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
        assert (found.rows == rows).mean() > 0.999
    assert make(vectors).search(queries[:1], 6).rows.tolist() == [[7, 300, 301, 302, 303, 304]]


@pytest.mark.parametrize("kind", ["ivf", "sq", "hnsw"])
def test_an_approximate_kind_finds_what_it_was_tuned_to(make: Maker, kind: str) -> None:
    vectors = drawn(COUNT, 0)
    index = make(vectors, kind)
    assert (index.kind, index.dim, len(index)) == (kind, 32, COUNT)
    assert measure(index, vectors, drawn(60, 1), 50).recall_at_k >= 0.9


def test_added_rows_come_last_and_removed_ones_are_numbered_away(make: Maker) -> None:
    vectors, more, queries = drawn(COUNT, 0), drawn(90, 2), drawn(40, 1)
    index = make(vectors, spots=SPOTS)
    # The new spots have a column that the old ones lack, and lack one of theirs.
    (lost, *_), told = SPOTS.columns, SPOTS.iloc[:90].assign(region="duct")
    grown = index.add(more, told.drop(columns=lost))
    for condition, rows in (("region == 'duct'", range(COUNT, COUNT + 90)), ("region == ''", range(COUNT))):
        where = select(condition, pd.concat([SPOTS, told], ignore_index=True))
        assert set(grown.search(queries, 9, where).rows.ravel()) <= set(rows)
    both = np.concatenate([vectors, more])
    np.testing.assert_allclose(grown.search(queries, 9).similarity, truth(both, queries, 9)[0], atol=1e-6)
    gone = np.arange(0, len(both), 7)
    stay = np.setdiff1d(np.arange(len(both)), gone)
    found = grown.remove(gone).search(queries, 9)
    np.testing.assert_allclose(found.similarity, truth(both[stay], queries, 9)[0], atol=1e-6)
    assert (found.rows == truth(both[stay], queries, 9)[1]).mean() > 0.99
    assert len(index) == COUNT  # what was is still there
    np.testing.assert_allclose(index.search(queries, 9).similarity, truth(vectors, queries, 9)[0], atol=1e-6)
    with pytest.raises(MismatchError, match="row 9999 cannot be removed"):
        index.remove(np.array([9999]))


def test_permuted_vectors_are_found_under_their_new_rows(make: Maker) -> None:
    vectors, queries = drawn(COUNT, 0), drawn(40, 1)
    order = np.random.default_rng(4).permutation(COUNT)
    before, after = make(vectors).search(queries, 11), make(vectors[order]).search(queries, 11)
    assert (order[after.rows] == before.rows).mean() > 0.999


@pytest.mark.parametrize(
    "condition",
    [
        'patient == "it\'s P1"',
        "patient == 'the \"other\" one' and not section == 's1'",
        "section in ['s1', 's2'] and x < -2.5 or organ == ''",
        "x >= 3 and organ != 'liver'",
        "section not in ['s0'] and not (x > 0 or patient != \"it's P1\")",
    ],
)
def test_a_condition_means_the_same_in_every_store(make: Maker, condition: str) -> None:
    vectors, queries = drawn(COUNT, 0), drawn(30, 1)
    where = select(condition, SPOTS)
    found = make(vectors, spots=SPOTS).search(queries, 12, where)
    similarity, rows = truth(vectors[where.rows], queries, 12)
    np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
    assert (found.rows == where.rows[rows]).mean() > 0.99


def test_a_saved_index_is_opened_with_the_same_answers(make: Maker, tmp_path: Path) -> None:
    index, queries = make(drawn(COUNT, 0), "hnsw"), drawn(30, 1)
    path = tmp_path / f"index{index.suffix}"
    index.save(path)
    index.settle(path)
    again = load_index(path)
    assert (again.kind, len(again)) == ("hnsw", COUNT)
    np.testing.assert_array_equal(again.search(queries, 9).rows, index.search(queries, 9).rows)


def test_bad_vectors_and_queries_are_refused_alike(make: Maker) -> None:
    index, wrong = make(drawn(COUNT, 0)), drawn(3, 1)
    wrong[1, 2] = np.nan
    for call in (lambda: index.search(wrong, 3), lambda: index.add(wrong), lambda: make(wrong)):
        with pytest.raises(DataError, match="not finite, first in row 1"):
            call()
    for call in (lambda: index.search(drawn(3, 1, 8), 3), lambda: index.add(drawn(3, 1, 8))):
        with pytest.raises(MismatchError, match="width 8"):
            call()


@pytest.fixture
def atlas(run_copy: Callable[..., Path], uri: str) -> Path:
    """A run whose reference is a collection."""
    folder = run_copy()
    run = Run.load(folder)
    config = Config.load(run.config.dump(), {"index": {"store": "milvus", "uri": uri, "kind": "flat"}})
    build_reference(replace(run, config=config)).save(folder / "reference")
    return folder


def test_a_reference_in_milvus_predicts_what_faiss_predicts(atlas: Path, trained: dict[str, Path], uri: str) -> None:
    run = Run.load(atlas)
    tiles = run.tiles(load_split(run.config).test)
    there, here = Reference.load(atlas / "reference"), Reference.load(trained["contrastive"] / "reference")
    for condition in (None, "section != 'toy1'"):
        one, other = (each if condition is None else each.only(condition) for each in (there, here))
        found, expected = (RetrievalPredictor(run, each).predict(tiles) for each in (one, other))
        np.testing.assert_allclose(found.expression, expected.expression, atol=1e-6)
    assert not any(token in (atlas / "reference" / "manifest.json").read_text() for token in ("token", "password"))


def test_a_reference_in_milvus_grows_shrinks_merges_and_is_verified(atlas: Path, uri: str, tmp_path: Path) -> None:
    run = Run.load(atlas)
    before = Reference.load(atlas / "reference")
    (held_out, *_) = load_split(run.config).test
    shutil.copytree(atlas, tmp_path / "elsewhere")
    grown = change(atlas / "reference", lambda reference: reference.add(run, [held_out], allow_held_out=True))
    assert len(grown) == len(before) + len(held_out)
    assert np.isin(
        grown.only(f"section == '{held_out.name}'").search(drawn(5, 1, 16), 3).rows, range(len(before), len(grown))
    ).all()
    back = change(atlas / "reference", lambda reference: reference.remove(section=held_out.name))
    np.testing.assert_array_equal(back.search(drawn(9, 1, 16), 7).rows, _flat(before).search(drawn(9, 1, 16), 7).rows)
    change(atlas / "reference", lambda reference: reference.merge(grown))
    merged, _ = verify(atlas / "reference")
    assert list(merged.spots.index) == list(grown.spots.index)
    # Every change drops what it replaced; the copy of the run has what both shared taken from it, and is told.
    with pytest.raises(DataError, match=r"holds no collection .* run `bleep index build` again"):
        Reference.load(tmp_path / "elsewhere" / "reference")


def test_a_build_that_fails_leaves_what_was_and_no_half_collection(
    atlas: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = client.open_server(uri)
    before, names = Reference.load(atlas / "reference"), set(server.collections(PREFIX))
    calls = client.Server.call

    def failing(self: client.Server, name: str, /, *given: Any, **more: Any) -> Any:
        if name == "insert":
            raise KeyboardInterrupt
        return calls(self, name, *given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(client.Server, "call", failing)
        with pytest.raises(KeyboardInterrupt):
            change(atlas / "reference", lambda reference: reference.remove(section="toy1"))
    assert set(server.collections(PREFIX)) == names
    with monkeypatch.context() as patched:
        patched.setattr(MilvusIndex, "settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            change(atlas / "reference", lambda reference: reference.remove(section="toy1"))
    assert len(verify(atlas / "reference")[0]) < len(before)


KILLED = """
import os, signal, sys
import numpy as np
from bleep.retrieval.index import milvus, milvus_client
calls = milvus_client.Server.call
milvus.MESSAGE = 32 * 4 * 100
def call(self, name, /, *given, **more):
    done = calls(self, name, *given, **more)
    if name == "insert":
        os.kill(os.getpid(), signal.SIGKILL)
    return done
milvus_client.Server.call = call
milvus.MilvusIndex.build(sys.argv[1], "flat", np.eye(32, dtype=np.float32).repeat(20, 0))
"""


def test_what_a_killed_builder_leaves_has_no_final_name_and_is_swept_away(
    request: pytest.FixtureRequest, uri: str, warm: Path, tmp_path: Path
) -> None:
    place = uri if "://" in uri else str(tmp_path / "atlas.db")
    done = subprocess.run([warm / "python", "-c", KILLED, place], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    server = client.open_server(place)
    names = set(server.collections(PREFIX))
    half = {name for name in names if f"_{os.getpid()}_" not in name and not server.call("list_aliases", name)["aliases"]}
    assert len(half) == 1
    index = MilvusIndex.build(place, "flat", drawn(50, 0))
    index.save(tmp_path / "index.json")
    index.settle(tmp_path / "index.json")
    left = set(server.collections(PREFIX))
    assert index.facts.name in left
    assert not half & left


def test_a_collection_of_another_run_and_a_damaged_one_are_refused(uri: str, tmp_path: Path) -> None:
    index = MilvusIndex.build(uri, "flat", drawn(50, 0), run="a" * 64)
    path = tmp_path / "index.json"
    for change_, error, said in (
        ({"run": "b" * 12}, MismatchError, "is of run aaaaaaaaaaaa, .* is of run bbbbbbbbbbbb"),
        ({"spots": 51}, DataError, "holds 50 vectors, .* says 51"),
        ({"name": "bleep_gone"}, DataError, "holds no collection bleep_gone"),
    ):
        MilvusIndex(index._server, replace(index.facts, **change_)).save(path)
        with pytest.raises(error, match=said):
            load_index(path)
    path.write_text('{"uri": 3}')
    with pytest.raises(DataError, match="is damaged"):
        load_index(path)


def test_a_file_that_is_no_store_is_left_and_told_at_once(lite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "notes.db").write_text("mine")
    with pytest.raises(
        DataError, match=r"notes.db: is a file, and no store of Milvus Lite 3 or later.* choose another index.uri"
    ):
        MilvusIndex.build(str(tmp_path / "notes.db"), "flat", drawn(5, 0))
    assert (tmp_path / "notes.db").read_text() == "mine"
    assert not caplog.records


def test_a_store_that_is_gone_is_not_made_anew_by_who_reads_it(lite: str, tmp_path: Path) -> None:
    place = tmp_path / "gone.db"
    (tmp_path / "index.json").write_text(
        json.dumps({**asdict(MilvusIndex.build(lite, "flat", drawn(5, 0)).facts), "uri": str(place)})
    )
    with pytest.raises(DataError, match=r"gone.db: there is no such store .* put it back, or run `bleep index build` again"):
        MilvusIndex.load(tmp_path / "index.json")
    assert not place.exists()


def test_more_neighbours_than_a_server_answers_are_refused_with_the_limit(lite: str) -> None:
    index = MilvusIndex.build(lite, "flat", drawn(50, 0))
    vast = MilvusIndex(index._server, replace(index.facts, spots=10**6))
    with pytest.raises(ConfigError, match=f"{MOST + 1} neighbours were asked for; Milvus answers {MOST} a query at most"):
        vast.search(drawn(2, 1), MOST + 1)


@pytest.mark.parametrize("uri", ["", "somewhere", "http://name:secret@host:19530", "ftp://host"])
def test_a_place_that_is_none_is_refused_and_no_secret_is_shown(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"index\.uri") as refused:
        client.open_server(uri)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_gone_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    monkeypatch.setattr(client, "PAUSES", ())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=f"127.0.0.1:{port}: no Milvus answers there .* start it"):
        client.open_server(f"http://127.0.0.1:{port}")


def test_what_may_pass_is_tried_again_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(client.time, "sleep", waited.append)
    answers = iter([RuntimeError("server unavailable"), RuntimeError("rate limit exceeded"), 7])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert client.retried(call, "http://host") == 7
    assert waited == list(client.PAUSES[:2])
    answers = iter([RuntimeError("field x not exist")])
    with pytest.raises(DataError, match="Milvus refuses: field x not exist"):
        client.retried(call, "http://host")
    answers = iter([RuntimeError("deadline exceeded")] * 9)
    with pytest.raises(DataError, match="no Milvus answers there"):
        client.retried(call, "http://host")
    assert len(list(answers)) == 9 - len(client.PAUSES) - 1
    # An index that was made though the answer was lost is there when it is asked for again; one of others is not ours.
    answers = iter([RuntimeError("deadline exceeded"), RuntimeError("index already exists")])
    assert client.retried(call, "http://host", makes=True) is None
    answers = iter([RuntimeError("index already exists")])
    with pytest.raises(DataError, match="index already exists"):
        client.retried(call, "http://host", makes=True)


def test_an_older_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_server_version(self) -> str:
            return "v2.2.16"

    monkeypatch.setattr(client, "_client", lambda uri: Old())
    with pytest.raises(DataError, match=r"version v2\.2\.16; expected 2\.3 or later"):
        client.open_server("http://host:19530")


def test_diskann_belongs_to_milvus() -> None:
    with pytest.raises(ConfigError, match=r"diskann is a kind of Milvus; set index\.store to milvus"):
        build_index(drawn(50, 0), IndexConfig(kind="diskann"), 3)


def _flat(reference: Reference) -> VectorIndex:
    return build_index(np.asarray(reference.vectors), IndexConfig(kind="flat"), 3)


@pytest.mark.slow
@pytest.mark.data
def test_her2st_through_milvus_is_what_faiss_predicts(shared: Path, lite: str, tmp_path: Path) -> None:
    weights = shared / "weights/tf_efficientnet_lite0.safetensors"
    if not weights.exists():
        pytest.skip("needs the weights in ../shared/weights")
    config = Config.load(
        "her2st-c",
        {
            "data": {"root": str(shared / "data/her2st"), "fold": 0},
            "image": {"trunk": "tf_efficientnet_lite0", "weights": str(weights), "layer": None, "precision": "float32"},
            "tiles": {"pixels": 112},
            "out": str(tmp_path / "run"),
            "cache": str(tmp_path / "cache"),
        },
    )
    run = fit(config)
    tiles, test = run.tiles(load_split(config).test), load_split(config).test
    measured = np.concatenate([run.panel.values(section) for section in test])
    predicted, scores = {}, {}
    for store, kind in (("faiss", "flat"), ("milvus", "flat"), ("milvus", "hnsw")):
        index = {"store": store, "kind": kind, "uri": lite if store == "milvus" else ""}
        reference = build_reference(replace(run, config=Config.load(run.config.dump(), {"index": index})))
        predicted[store, kind] = RetrievalPredictor(run, reference).predict(tiles).expression
        scores[store, kind] = float(np.nanmean(pearson(predicted[store, kind], measured)))
    exact = predicted["faiss", "flat"]
    assert scores["faiss", "flat"] > 0.2
    np.testing.assert_allclose(predicted["milvus", "flat"], exact, atol=1e-6, rtol=0)
    assert abs(scores["milvus", "hnsw"] - scores["faiss", "flat"]) <= 0.002


def test_vectors_that_differ_by_rounding_alone_stand_in_the_order_of_their_rows() -> None:
    ulp = np.float32(np.spacing(np.float32(0.9)))
    similarity = np.float32([[0.9, 0.9 + ulp, 0.5, 0.9 + 2 * ulp], [0.1, 0.4, 0.3, 0.2]])
    found = ranked(_without_rounding(similarity), np.array([[7, 30, 2, 9], [1, 2, 3, 4]]), 4)
    assert found.rows.tolist() == [[7, 9, 30, 2], [2, 3, 4, 1]]
    np.testing.assert_allclose(found.similarity[0], [0.9, 0.9, 0.9, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(found.similarity[1], np.float32([0.4, 0.3, 0.2, 0.1]))
