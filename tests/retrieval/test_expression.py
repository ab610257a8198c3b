"""Expression in each form: kept, mapped, spliced, and refused when damaged."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from bleep.errors import DataError
from bleep.retrieval.reference.expression_store import ExpressionStore, SparseExpression, SplicedExpression
from bleep.retrieval.reference.expression_writer import choose_form, open_expression, stored, write_expression

FORMS = ("dense", "half", "sparse")


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((500, 7)) * 8 * (rng.random((500, 7)) < 0.4)).astype(np.float32)


@pytest.fixture(params=FORMS)
def kept(request: pytest.FixtureRequest, values: np.ndarray, tmp_path: Path) -> ExpressionStore:
    store, _ = stored([values[:200], values[200:]], request.param)
    write_expression(store, tmp_path, "expression")
    return open_expression(tmp_path, "expression", 7)


def test_what_is_mapped_is_what_was_kept(kept: ExpressionStore, values: np.ndarray) -> None:
    assert kept.shape == (500, 7)
    assert len(kept) == 500
    rows = np.array([499, 0, 3, 3])
    expected = values.astype(np.float16).astype(np.float32) if kept.form == "half" else values
    np.testing.assert_array_equal(kept.rows(rows), expected[rows])
    np.testing.assert_array_equal(kept.sparse_rows(rows).toarray(), expected[rows])
    assert kept.rows(np.empty(0, np.int64)).shape == (0, 7)


def test_nothing_is_read_before_it_is_asked_for(kept: ExpressionStore) -> None:
    arrays = [kept.data, kept.indices, kept.indptr] if isinstance(kept, SparseExpression) else [kept.values]
    assert all(isinstance(array, np.memmap) for array in arrays)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to tell the memory of a process")
def test_a_large_store_does_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    write_expression(stored([np.ones((20_000, 1000), np.float32)], "dense")[0], tmp_path, "x")
    kept = open_expression(tmp_path, "x", 1000)
    before, rows = resident(), np.arange(0, 20_000, 20)
    assert (kept.rows(rows) == 1).all()
    held = resident() - before
    monkeypatch.setattr("bleep.retrieval.reference.expression_store.RESIDENT", 0)
    assert (kept.rows(rows) == 1).all()
    assert resident() - before < held / 2 or held < 2**22


def test_half_rounds_by_at_most_one_part_in_two_thousand(values: np.ndarray) -> None:
    half = stored([values], "half")[0].rows(np.arange(500))
    assert (np.abs(half - values) <= values / 2048 + 1e-7).all()
    assert np.abs(half - values).max() > 0


def test_half_refuses_values_it_cannot_hold() -> None:
    with pytest.raises(DataError, match="70000 is larger than float16 can hold"):
        stored([np.full((2, 2), 7e4, np.float32)], "half")


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_joined_to_half_and_too_large_for_it_does_not_become_infinite(remote: bool, tmp_path: Path) -> None:
    if remote:
        pytest.importorskip("fsspec")
    parts = stored([np.ones((2, 2), np.float32)], "half")[0], stored([np.full((2, 2), 7e4, np.float32)], "dense")[0]
    joined, url = SplicedExpression(parts, (np.arange(2), np.arange(2))), f"file://{tmp_path}/far" if remote else ""
    with pytest.raises(DataError, match=r"70000 is larger than that can hold .*--index\.expression dense"):
        write_expression(joined, tmp_path, "expression", url)


def test_auto_goes_by_zeros_size_and_range() -> None:
    assert choose_form(1000, 100, 0.1, 8.0)[0] == "sparse"
    assert choose_form(1000, 100, 0.9, 8.0)[0] == "dense"
    form, why = choose_form(1_000_000, 5000, 0.9, 8.0)
    assert form == "half"
    assert "float16" in why
    assert choose_form(1_000_000, 5000, 0.9, 1e6)[0] == "dense"
    thin = sparse.csr_matrix(np.random.default_rng(0).poisson(0.1, (50, 20)).astype(np.float32))
    assert stored([thin, thin.toarray()], "auto")[0].form == "sparse"
    assert stored([np.ones((3, 2), np.float32)], "auto")[0].form == "dense"


@pytest.mark.parametrize("form", FORMS)
def test_spliced_stores_are_their_parts_one_after_another(form: str, values: np.ndarray, tmp_path: Path) -> None:
    parts = tuple(stored([part], form)[0] for part in (values[:300], values[300:]))  # type: ignore[arg-type]
    kept = (np.array([5, 299, 0]), np.array([1, 7]))
    spliced = SplicedExpression(parts, kept)
    expected = np.concatenate([parts[0].rows(kept[0]), parts[1].rows(kept[1])])
    order = np.array([4, 0, 2, 4])
    np.testing.assert_array_equal(spliced.rows(order), expected[order])
    np.testing.assert_array_equal(spliced.sparse_rows(order).toarray(), expected[order])
    write_expression(spliced, tmp_path, "again")
    again = open_expression(tmp_path, "again", 7)
    assert (again.form, len(again)) == (form, 5)
    np.testing.assert_array_equal(again.rows(np.arange(5)), expected)


def test_a_store_of_many_blocks_is_written_block_by_block(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bleep.retrieval.reference.expression_writer.STEP", 64)
    for form in FORMS:
        write_expression(stored([values], form)[0], tmp_path, form)
        written = open_expression(tmp_path, form, 7).rows(np.arange(500))
        np.testing.assert_allclose(written, values, rtol=1e-3)


def test_spots_without_any_value_are_kept(tmp_path: Path) -> None:
    write_expression(stored([np.zeros((3, 4), np.float32)], "sparse")[0], tmp_path, "none")
    np.testing.assert_array_equal(open_expression(tmp_path, "none", 4).rows(np.arange(3)), np.zeros((3, 4)))


DAMAGE = {
    "data cut short": ("x.data.npy", lambda data: data[: len(data) // 2], "is damaged"),
    "data gone": ("x.data.npy", None, "is not there"),
    "data of another kind": ("x.data.npy", np.zeros(3, np.int64), "holds int64"),
    "another number of genes' places": ("x.indices.npy", np.zeros(3, np.int32), "holds 3 values"),
    "rows that go back": ("x.indptr.npy", np.array([0, 5, 2, 9]), "do not add up"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_parts_are_refused(kind: str, values: np.ndarray, tmp_path: Path) -> None:
    name, change, words = DAMAGE[kind]
    write_expression(stored([values], "sparse")[0], tmp_path, "x")
    path = tmp_path / name
    if change is None:
        path.unlink()
    elif isinstance(change, np.ndarray):
        np.save(path, change)
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=words):
        open_expression(tmp_path, "x", 7)


def test_genes_beyond_the_panel_are_refused_before_they_do_harm(values: np.ndarray, tmp_path: Path) -> None:
    write_expression(stored([values], "sparse")[0], tmp_path, "x")
    places = np.load(tmp_path / "x.indices.npy")
    places[10] = 1_000_000
    np.save(tmp_path / "x.indices.npy", places)
    with pytest.raises(DataError, match="names genes beyond its 7"):
        open_expression(tmp_path, "x", 7).rows(np.arange(20))


def test_a_store_of_other_genes_is_refused(values: np.ndarray, tmp_path: Path) -> None:
    write_expression(stored([values], "dense")[0], tmp_path, "x")
    with pytest.raises(DataError, match="holds 7 genes, its manifest names 8"):
        open_expression(tmp_path, "x", 8)
