"""The index against brute force."""

from pathlib import Path

import numpy as np
import pytest

from bleep.errors import DataError
from bleep.prediction.search import FlatIndex, facts, measured_recall


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 7, 300])
def test_the_flat_index_agrees_with_brute_force(k: int, vectors: np.ndarray, queries: np.ndarray) -> None:
    found = FlatIndex.build(vectors).search(queries, k)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :k]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.similarity, np.take_along_axis(exact, order, axis=1), rtol=1e-4, atol=1e-5)


def test_a_saved_and_loaded_index_gives_the_same_answers(vectors: np.ndarray, queries: np.ndarray, tmp_path: Path) -> None:
    index = FlatIndex.build(vectors)
    index.save(tmp_path / "index.faiss")
    again = FlatIndex.load(tmp_path / "index.faiss")
    assert (len(again), again.dim) == (300, 16)
    first, second = index.search(queries, 9), again.search(queries, 9)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.similarity, second.similarity)


def test_asking_for_more_than_there_is_gives_all(vectors: np.ndarray, queries: np.ndarray) -> None:
    found = FlatIndex.build(vectors[:4]).search(queries, 50)
    assert found.rows.shape == (40, 4)
    assert (np.sort(found.rows, axis=1) == np.arange(4)).all()


def test_exact_search_has_full_recall_and_a_wrong_one_has_not(vectors: np.ndarray) -> None:
    assert measured_recall(FlatIndex.build(vectors), vectors) == 1
    assert measured_recall(FlatIndex.build(np.roll(vectors, 150, axis=0)), vectors) < 0.3


@pytest.mark.parametrize("content", [None, b"", b"not an index", b"IxFI\x10\x00"])
def test_a_missing_or_damaged_index_is_said_so(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "index.faiss").write_bytes(content)
    with pytest.raises(DataError, match="is not there" if content is None else "is damaged"):
        FlatIndex.load(tmp_path / "index.faiss")


def test_the_build_tells_its_version() -> None:
    assert facts()["version"]
