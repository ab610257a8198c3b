"""Every kind of index against brute force."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.config import IndexConfig
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.retrieval import index as search
from bleep.retrieval.index import FlatIndex, build_index, choose_kind, facts, load_index, measure
from bleep.retrieval.index import base as devices
from bleep.retrieval.index.base import faiss
from bleep.retrieval.index.factory import between
from bleep.retrieval.index.flat import exact_search

KINDS = ("flat", "ivf", "ivfpq", "hnsw", "sq")
APPROXIMATE = KINDS[1:]
COUNT = 2000


def drawn(count: int, seed: int, dim: int = 32) -> np.ndarray:
    """Unit vectors around 20 centres, within 6 directions."""
    laws, random = np.random.default_rng(99), np.random.default_rng(seed)
    centres, directions = laws.standard_normal((20, dim)), laws.standard_normal((6, dim))
    found = centres[random.integers(0, 20, count)] + 0.6 * random.standard_normal((count, 6)) @ directions
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    exact = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    rows = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(exact, rows, axis=1), rows


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return drawn(COUNT, 0)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return drawn(150, 1)


@pytest.fixture(scope="module")
def built(vectors: np.ndarray) -> dict[str, Any]:
    return {kind: build_index(vectors, IndexConfig(kind=kind), 3) for kind in KINDS}  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 7, 300, 5000])
@pytest.mark.parametrize("lengths", ["unit", "any"])
def test_the_flat_index_is_brute_force(k: int, lengths: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    stretch = np.random.default_rng(5).uniform(0.1, 9, (len(vectors), 1)).astype(np.float32) if lengths == "any" else 1
    stored = np.asarray(vectors * stretch, np.float32)
    found = FlatIndex.build(stored).search(queries, k)
    similarity, rows = truth(stored, queries, k)
    np.testing.assert_allclose(found.similarity, similarity, rtol=1e-6)
    assert (found.rows == rows).mean() > 0.9999, "only similarities equal to the last bit may change places"


def test_of_equal_vectors_the_lower_row_comes_first(vectors: np.ndarray) -> None:
    # Three blocks of rows, so that equal vectors stand in different ones, and more of them than are asked for.
    stored = np.concatenate([vectors[:100]] * 370)
    found = FlatIndex.build(stored).search(vectors[:100], 50)
    np.testing.assert_array_equal(found.rows, np.arange(100)[:, None] + 100 * np.arange(50))


def test_many_equal_vectors_do_not_fill_the_memory() -> None:
    stored = np.ones((40_000, 8), np.float32)
    found = exact_search(stored, np.ones((3, 8), np.float32), 5, float(np.sqrt(8)))
    np.testing.assert_array_equal(found.rows, np.tile(np.arange(5), (3, 1)))


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_each_kind_finds_what_it_was_tuned_to(
    kind: str, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray
) -> None:
    assert built[kind].kind == kind
    found = measure(built[kind], vectors, queries, 50)
    assert found.recall_at_k >= 0.95
    assert (found.queries, found.k) == (150, 50)
    assert found.milliseconds_per_query > 0
    _, rows = truth(vectors, queries, 50)
    mine = built[kind].search(queries, 50).rows
    shared = np.mean([len(np.intersect1d(a, b)) for a, b in zip(mine, rows, strict=True)]) / 50
    assert shared == pytest.approx(found.recall_at_k, abs=1e-3), "recall counts what a plain comparison of rows counts"


@pytest.mark.parametrize(("worth", "slower", "warned"), [(0.0, True, True), (0.0, False, False), (60.0, True, False)])
def test_an_exact_search_that_is_faster_is_warned_of(
    worth: float, slower: bool, warned: bool, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    search, exact = type(built["ivf"]).search, exact_search

    def late(*words: Any) -> Any:
        time.sleep(0.2)
        return search(*words)

    def late_exact(*words: Any) -> Any:
        time.sleep(0.0 if slower else 1.0)
        return exact(*words)

    monkeypatch.setattr("bleep.retrieval.index.WORTH", worth)
    monkeypatch.setattr("bleep.retrieval.index.exact_search", late_exact)
    monkeypatch.setattr(type(built["ivf"]), "search", late)
    measure(built["ivf"], vectors, queries[:20], 10)
    assert ("set index.kind to flat" in caplog.text) == warned


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_more_recall_costs_more_effort(kind: str) -> None:
    # Without groups or directions neighbours are hard to find.
    random = np.random.default_rng(0)
    stored, queries = (random.standard_normal((count, 32)).astype(np.float32) for count in (3000, 100))
    low, high = (
        build_index(stored, IndexConfig(kind=kind, recall=recall), 3, queries=queries)  # type: ignore[arg-type]
        for recall in (0.5, 0.999)
    )
    assert low.effort < high.effort  # type: ignore[attr-defined]
    assert measure(low, stored, queries, 50).recall_at_k < measure(high, stored, queries, 50).recall_at_k


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_recall_out_of_reach_is_said(kind: str, vectors: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    build_index(vectors, IndexConfig(kind=kind, recall=1.0, memory=1e-9), 3)  # type: ignore[arg-type]
    reachable = kind in ("ivf", "hnsw")
    assert ("was asked for" in caplog.text) is not reachable


@pytest.mark.parametrize(("kind", "copies", "said"), [("hnsw", 100, True), ("hnsw", 64, False), ("ivf", 100, False)])
def test_copies_that_hide_others_in_a_graph_are_said(
    kind: str, copies: int, said: bool, vectors: np.ndarray, queries: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    blank = np.full((copies, vectors.shape[1]), vectors.shape[1] ** -0.5, np.float32)
    stored = np.concatenate([blank, vectors])
    index = build_index(stored, IndexConfig(kind=kind), 3)  # type: ignore[arg-type]
    assert (f"{copies} of {len(stored)} vectors are one and the same" in caplog.text) is said
    caplog.clear()
    index.add(blank)
    assert ("vectors are one and the same" in caplog.text) is said
    # The way out that is named is one: an inverted file finds what it finds without them.
    assert kind == "hnsw" or measure(index, stored, queries, 50).recall_at_k > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_similarity_is_the_inner_product(kind: str, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray) -> None:
    found = built[kind].search(queries, 20)
    exact = np.einsum("qkd,qd->qk", vectors[found.rows], queries)
    np.testing.assert_allclose(found.similarity, exact, atol=0.03 if kind in ("sq", "ivfpq") else 1e-5)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_and_loaded_index_gives_the_same_answers(
    kind: str, built: dict[str, Any], queries: np.ndarray, tmp_path: Path
) -> None:
    built[kind].save(tmp_path / "index.faiss")
    again = load_index(tmp_path / "index.faiss")
    assert (again.kind, again.dim, len(again)) == (kind, 32, COUNT)
    assert built[kind].stored_bytes() == (tmp_path / "index.faiss").stat().st_size
    first, second = built[kind].search(queries, 40), again.search(queries, 40)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.similarity, second.similarity)


@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_all_gives_each_row_once(kind: str, built: dict[str, Any], queries: np.ndarray) -> None:
    found = built[kind].search(queries[:3], 10_000).rows
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(COUNT), (3, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_added_vectors_take_the_rows_at_the_end(kind: str, built: dict[str, Any], vectors: np.ndarray) -> None:
    more = drawn(300, 2)
    grown = built[kind].add(more)
    assert (len(grown), len(built[kind])) == (COUNT + 300, COUNT), "the index itself is not changed"
    assert measure(grown, np.concatenate([vectors, more]), drawn(150, 1), 50).recall_at_k >= 0.93
    own = grown.search(more, 1).rows[:, 0]
    assert (own == np.arange(COUNT, COUNT + 300)).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_removed_rows_are_gone_and_the_others_numbered_in_order(
    kind: str, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray
) -> None:
    gone = np.random.default_rng(4).permutation(COUNT)[:700].astype(np.int64)
    stay = np.setdiff1d(np.arange(COUNT), gone)
    less = built[kind].remove(gone)
    assert (less.kind, len(less), len(built[kind])) == (kind, COUNT - 700, COUNT)
    assert measure(less, vectors[stay], queries, 50).recall_at_k >= 0.93
    np.testing.assert_array_equal(np.sort(less.search(queries[:2], COUNT - 700).rows), np.tile(np.arange(COUNT - 700), (2, 1)))
    found = less.search(queries, 10)
    exact = np.einsum("qkd,qd->qk", vectors[stay][found.rows], queries)
    np.testing.assert_allclose(found.similarity, exact, atol=0.03 if kind in ("sq", "ivfpq") else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_removing_and_adding_back_is_a_new_order(kind: str, built: dict[str, Any], vectors: np.ndarray) -> None:
    turned = built[kind].remove(np.arange(10, dtype=np.int64)).add(vectors[:10])
    own = turned.search(vectors, 1).rows[:, 0]
    assert (own == np.roll(np.arange(COUNT), 10)).mean() > 0.9


def test_rows_that_are_not_there_and_all_rows_cannot_be_removed(built: dict[str, Any]) -> None:
    for kind in KINDS:
        with pytest.raises(MismatchError, match=f"row {COUNT} cannot be removed"):
            built[kind].remove(np.array([3, COUNT]))
        with pytest.raises(MismatchError, match="empty index"):
            built[kind].remove(np.arange(COUNT))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 30, 200])
def test_few_vectors_are_indexed_by_any_kind(kind: str, count: int, queries: np.ndarray, tmp_path: Path) -> None:
    few = drawn(count, 6)
    index = build_index(few, IndexConfig(kind=kind), 0)  # type: ignore[arg-type]
    assert measure(index, few, queries, 50).recall_at_k > 0.9
    index.save(tmp_path / "few")
    assert load_index(tmp_path / "few").search(queries, 50).rows.shape == (150, min(50, count))


@pytest.mark.parametrize("dim", [1, 7])
def test_any_width_can_be_cut_into_codes(dim: int) -> None:
    stored = drawn(300, 0, dim)
    index = build_index(stored, IndexConfig(kind="ivfpq"), 0)
    assert measure(index, stored, drawn(50, 1, dim), 50).recall_at_k > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_not_finite_and_other_widths_are_refused(
    kind: str, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray
) -> None:
    bad = vectors.copy()
    bad[17, 3] = np.nan
    with pytest.raises(DataError, match="first in row 17"):
        build_index(bad, IndexConfig(kind=kind), 0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="first in row 17"):
        built[kind].add(bad)
    with pytest.raises(DataError, match="queries hold values"):
        built[kind].search(np.full((1, 32), np.inf, np.float32), 5)
    with pytest.raises(MismatchError, match=r"width 16.* width 32"):
        built[kind].search(queries[:, :16], 5)
    with pytest.raises(MismatchError, match=r"width 16.* width 32"):
        built[kind].add(vectors[:, :16])
    with pytest.raises(DataError, match="no vectors"):
        build_index(vectors[:0], IndexConfig(kind=kind), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_vectors_of_any_length_are_found_by_inner_product(kind: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    stored = vectors * np.random.default_rng(5).uniform(0.5, 2, (len(vectors), 1)).astype(np.float32)
    index = build_index(stored, IndexConfig(kind=kind, recall=0.9), 0)  # type: ignore[arg-type]
    assert measure(index, stored, queries, 50).recall_at_k >= 0.85


@pytest.mark.parametrize("content", [None, b"", b"not an index", b"IxFI\x10\x00"])
def test_a_missing_or_damaged_index_is_said_so(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "index.faiss").write_bytes(content)
    for load in (FlatIndex.load, load_index):
        with pytest.raises(DataError, match="is not there" if content is None else "is damaged"):
            load(tmp_path / "index.faiss")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_index_is_damaged(kind: str, built: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    built[kind].save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="is damaged"):
        load_index(path)


def test_an_index_of_another_metric_or_class_is_refused(vectors: np.ndarray, built: dict[str, Any], tmp_path: Path) -> None:
    other = faiss.IndexFlatL2(32)
    other.add(vectors)
    faiss.write_index(other, str(tmp_path / "l2"))
    with pytest.raises(DataError, match="metric"):
        load_index(tmp_path / "l2")
    faiss.write_index(faiss.IndexLSH(32, 64), str(tmp_path / "lsh"))
    with pytest.raises(DataError, match="IndexLSH"):
        load_index(tmp_path / "lsh")
    built["ivf"].save(tmp_path / "ivf")
    with pytest.raises(DataError, match="IndexIVFFlat"):
        FlatIndex.load(tmp_path / "ivf")


def test_an_index_that_cannot_be_written_is_said_so(built: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        built["flat"].save(tmp_path / "file" / "index.faiss")


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "sq"])
def test_an_index_that_finds_no_more_room_is_one_sentence(
    kind: str, built: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are of POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    built[kind].save(tmp_path / "index.faiss")
    before = (tmp_path / "index.faiss").read_bytes()
    told = []
    for room in (0, 60, len(before) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(DataError, match=r"index\.faiss: cannot be written \(File too large\)"):
                built[kind].save(tmp_path / "index.faiss")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        told.append(capfd.readouterr().err)
    assert told == ["", "", ""]
    assert (tmp_path / "index.faiss").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.faiss"]


def test_exact_search_has_full_recall_and_a_wrong_one_has_not(vectors: np.ndarray) -> None:
    asked = np.ascontiguousarray(vectors[:200])
    assert measure(FlatIndex.build(vectors), vectors, asked, 10).recall_at_k == 1
    assert measure(FlatIndex.build(np.roll(vectors, 150, axis=0)), vectors, asked, 10).recall_at_k < 0.3


def test_queries_made_to_tune_with_are_near_what_is_stored_but_not_stored(vectors: np.ndarray) -> None:
    made = between(vectors, 1.0, 0)
    assert made.shape == (512, 32)
    best = FlatIndex.build(vectors).search(made / np.linalg.norm(made, axis=1, keepdims=True), 1).similarity[:, 0]
    assert (best < 1 - 1e-6).mean() > 0.95
    assert np.median(best) > 0.9
    np.testing.assert_array_equal(made, between(vectors, 1.0, 0))


def test_auto_goes_by_size_and_memory() -> None:
    assert choose_kind(20_000, 256, None)[0] == "flat"
    assert choose_kind(1_000_000, 256, None)[0] == "ivf"
    assert choose_kind(1_000_000, 256, 0.5)[0] == "sq"
    kind, why = choose_kind(1_000_000, 256, 0.1)
    assert kind == "ivfpq"
    assert "1000000 spots of width 256" in why
    assert "0.1 GB" in why
    with pytest.raises(ConfigError, match=r"index.memory.*smallest kind"):
        choose_kind(1_000_000, 256, 0.01)


def test_auto_is_exact_where_the_recall_takes_too_many_lists(
    vectors: np.ndarray, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bleep.retrieval.index import factory

    monkeypatch.setattr(factory, "EXACT", 0.0)
    scattered = np.random.default_rng(0).normal(size=(20_000, 32)).astype(np.float32)
    with caplog.at_level("INFO", "bleep"):
        found = build_index(scattered, IndexConfig(), 0)
    assert found.kind == "flat"
    assert re.search(r"of kind flat after all: \d+ of \d+ lists reach a recall of 0\.\d+, 0\.95 was asked for", caplog.text)
    np.testing.assert_array_equal(found.search(scattered[:5], 3).rows, FlatIndex.build(scattered).search(scattered[:5], 3).rows)
    assert "at most" not in caplog.text
    with caplog.at_level("WARNING", "bleep"), monkeypatch.context() as few:
        few.setattr(factory, "MOST_LISTS", 4)
        assert build_index(scattered, IndexConfig(), 0).kind == "flat"
        assert "at most" not in caplog.text
        assert build_index(scattered, IndexConfig(kind="ivf"), 0).kind == "ivf"
        assert "reaches a recall of" in caplog.text
    centres = np.random.default_rng(1).normal(size=(200, 32))
    clustered = (centres.repeat(100, axis=0) + 0.05 * scattered).astype(np.float32)
    assert build_index(clustered, IndexConfig(), 0).kind == "ivf"


def test_auto_says_what_it_chose(vectors: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bleep"):
        assert build_index(vectors, IndexConfig(), 0).kind == "flat"
    assert "few enough" in caplog.text


def test_given_queries_are_tuned_for(vectors: np.ndarray) -> None:
    far = -drawn(100, 8)
    near, other = (build_index(vectors, IndexConfig(kind="ivf"), 3, queries=asked) for asked in (None, far))
    assert other.effort > near.effort  # type: ignore[attr-defined]
    assert measure(other, vectors, far, 50).recall_at_k >= 0.95


BUILD = """
import sys
import numpy as np
from bleep.retrieval.index import build_index
from bleep.config import IndexConfig
from bleep.retrieval.index.base import faiss
import hashlib
from threadpoolctl import threadpool_info, threadpool_limits
faiss.omp_set_num_threads(int(sys.argv[1]))
pools = threadpool_limits(int(sys.argv[1]))
print(sorted({pool["num_threads"] for pool in threadpool_info()}))
vectors = np.random.default_rng(0).standard_normal((9000, 16)).astype(np.float32)
for kind in ("ivf", "ivfpq", "hnsw", "sq"):
    index = build_index(vectors, IndexConfig(kind=kind, recall=0.8), 3)
    print(hashlib.sha256(faiss.serialize_index(index._index).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_one_thread_or_two_make_the_same_index(warm: Path) -> None:
    made = []
    for threads in ("1", "2"):
        done = subprocess.run([warm / "python", "-c", BUILD, threads], capture_output=True, text=True, check=True)
        pools, *hashes = done.stdout.split()
        assert pools == f"[{threads}]"
        made.append(hashes)
    assert made[0] == made[1]
    assert len(set(made[0])) == 4


def test_another_seed_makes_another_index(vectors: np.ndarray, built: dict[str, Any], queries: np.ndarray) -> None:
    other = build_index(vectors, IndexConfig(kind="ivf"), 4)
    assert not np.array_equal(other.search(queries, 50).rows, built["ivf"].search(queries, 50).rows)


@pytest.mark.parametrize("kind", ["flat", "ivf", "sq"])
def test_what_a_gpu_would_search_is_searched_with_the_same_answers(
    kind: str, built: dict[str, Any], vectors: np.ndarray, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def twin(index: Any, options: Any) -> Any:
        asked.append(options.shard)
        return faiss.clone_index(index)

    monkeypatch.setattr(devices, "gpu_count", lambda: 2)
    monkeypatch.setattr(devices.faiss, "index_cpu_to_all_gpus", twin, raising=False)
    built[kind].save(tmp_path / "index")
    index = load_index(tmp_path / "index", gpus="shards")
    assert asked == [True]
    mine, theirs = index.search(queries, 40), built[kind].search(queries, 40)
    np.testing.assert_array_equal(mine.rows, theirs.rows)
    np.testing.assert_array_equal(mine.similarity, theirs.similarity)
    load_index(tmp_path / "index", gpu="none")
    assert asked == [True]


def test_ties_beyond_what_a_gpu_was_asked_for_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    monkeypatch.setattr(devices.faiss, "index_cpu_to_all_gpus", lambda index, options: _backwards(index), raising=False)
    index = FlatIndex.build(np.ones((500, 8), np.float32))
    np.testing.assert_array_equal(index.search(np.ones((2, 8), np.float32), 5).rows, np.tile(np.arange(5), (2, 1)))


def _backwards(index: Any) -> Any:
    class Backwards:
        """Of equal vectors it finds the last, as a GPU may."""

        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            similarity, rows = index.search(queries, k)
            return similarity, index.ntotal - 1 - rows

    return Backwards()


@pytest.mark.gpu
@pytest.mark.skipif(not facts()["gpus"].isdigit() or facts()["gpus"] == "0", reason="needs a GPU that FAISS finds")
@pytest.mark.parametrize("kind", ["flat", "ivf", "sq"])
@pytest.mark.parametrize("gpus", ["replicas", "shards"])
def test_a_gpu_gives_the_neighbours_of_the_cpu(kind: Any, gpus: Any, tmp_path: Path, queries: np.ndarray) -> None:
    stored = drawn(50_000, 0)
    index = build_index(stored, IndexConfig(kind=kind, gpus=gpus), 3)
    index.save(tmp_path / "index")
    cpu = load_index(tmp_path / "index", gpu="none").search(queries, 50)
    gpu = load_index(tmp_path / "index", gpus=gpus).search(queries, 50)
    assert (cpu.rows == gpu.rows).mean() > 0.999
    np.testing.assert_allclose(cpu.similarity, gpu.similarity, atol=1e-4)


def test_the_build_tells_its_version() -> None:
    assert facts()["version"]
    assert set(search.__all__) >= {"VectorIndex", "build_index", "load_index", "measure", "choose_kind"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "what"), [(4, "dimension"), (8, "vectors")])
def test_counts_that_the_file_does_not_bear_out_are_told_before_memory_is_taken(
    kind: str, place: int, what: str, built: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.faiss"
    built[kind].save(path)
    before = path.read_bytes()
    path.write_bytes(before[:place] + (2**30).to_bytes(4, "little") + before[place + 4 :])
    monkeypatch.setattr(faiss, "read_index", lambda *_: pytest.fail("the damaged file was read"))
    with pytest.raises(DataError, match="its header counts more than the file holds"):
        load_index(path)
