"""The contest's score against its formula written out with numpy and scipy, and the tables that are refused."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from bleep.contest import ContestTable, GeneLists, contest_score
from bleep.errors import DataError, MismatchError


def r(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return scipy's r; 0 where only the prediction is constant, no number where the truth is."""
    if np.ptp(measured) == 0:
        return float("nan")
    if np.ptp(predicted) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(pearsonr(predicted, measured).statistic)


def by_hand(predicted: np.ndarray, measured: np.ndarray, training: np.ndarray, top: int) -> tuple[float, list[float]]:
    mean, cv = training.mean(axis=0), training.std(axis=0) / training.mean(axis=0)
    cv[mean <= 0] = -np.inf
    by_gene = np.array([r(predicted[:, gene], measured[:, gene]) for gene in range(measured.shape[1])])
    parts = [
        np.nanmean([r(one, other) for one, other in zip(predicted, measured, strict=True)]),
        np.nanmax(by_gene),
        np.nanmean(by_gene[np.argsort(-mean)[:top]]),
        np.nanmean(by_gene[np.argsort(-cv)[:top]]),
    ]
    return max(float(np.mean(parts)), 0.0), [float(part) for part in parts]


def made(seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return prediction, truth and training values of 15 genes, log-normalised and some a little below 0."""
    rng = np.random.default_rng(seed)
    level, spread = rng.uniform(0.05, 2, 15), rng.uniform(0.02, 0.5, 15)
    measured, training = (level + rng.normal(0, spread, (rows, 15)) for rows in (40, 70))
    predicted = measured + rng.normal(0, noise * spread, measured.shape)
    return predicted, measured, training


def lists(training: np.ndarray, top: int = 4) -> GeneLists:
    return GeneLists.of(training.mean(axis=0), training.var(axis=0), top, "over the training samples")


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_the_mean_of_its_four_parts(seed: int, noise: float) -> None:
    predicted, measured, training = made(seed, noise)
    total, parts = by_hand(predicted, measured, training, 4)
    found = contest_score(predicted, measured, lists(training))
    assert found.total == pytest.approx(total, rel=1e-9)
    assert list(found.parts.values()) == pytest.approx(parts, rel=1e-9)
    assert list(found.parts) == ["samples", "best_gene", "heg", "hvg"]


def test_a_score_below_0_is_0() -> None:
    predicted, measured, training = made(0, 0.1)
    # No gene may agree, or the best of them would: every one is turned round.
    found = contest_score(-predicted, measured, lists(training))
    assert min(found.parts.values()) < 0
    assert found.total == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
@pytest.mark.parametrize("side", ["predicted", "measured", "both"])
def test_constant_genes_and_samples_follow_the_stated_rule(side: str, value: float) -> None:
    predicted, measured, training = made(1)
    top = lists(training).heg[0]
    for name, values in (("predicted", predicted), ("measured", measured)):
        if side in (name, "both"):
            values[:, top] = value
            values[7] = value
    total, parts = by_hand(predicted, measured, training, 4)
    found = contest_score(predicted, measured, lists(training))
    assert found.total == pytest.approx(total, rel=1e-9)
    assert list(found.parts.values()) == pytest.approx(parts, rel=1e-9)


def test_what_is_left_out_is_counted() -> None:
    predicted, measured, training = made(2)
    measured[:, [3, 5]] = 0.5
    assert contest_score(predicted, measured, lists(training)).skipped == (0, 2)
    measured[9] = 0.5
    assert contest_score(predicted, measured, lists(training)).skipped[0] == 1


def test_a_constant_prediction_has_no_skill() -> None:
    predicted, measured, training = made(3)
    found = contest_score(np.ones_like(predicted), measured, lists(training))
    assert found.total == 0
    assert set(found.parts.values()) == {0.0}


@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_no_numbers_are_refused(side: int) -> None:
    values = made(4)
    values[side][2, 3] = np.nan
    with pytest.raises(DataError, match=f"the {('prediction', 'truth')[side]} holds 1 values that are not numbers"):
        contest_score(values[0], values[1], lists(values[2]))


def test_a_truth_that_does_not_vary_cannot_be_scored() -> None:
    predicted, measured, training = made(5)
    measured[:, lists(training).hvg] = 1.0
    with pytest.raises(DataError, match="part 'hvg' of the score"):
        contest_score(predicted, measured, lists(training))


def test_shapes_must_agree() -> None:
    predicted, measured, training = made(6)
    with pytest.raises(MismatchError, match=r"\(39, 15\) meets true values of shape \(40, 15\)"):
        contest_score(predicted[1:], measured, lists(training))


def test_permuting_genes_changes_nothing_and_permuting_samples_of_one_side_does() -> None:
    predicted, measured, training = made(7)
    order = np.random.default_rng(0).permutation(15)
    before = contest_score(predicted, measured, lists(training)).total
    after = contest_score(predicted[:, order], measured[:, order], lists(training[:, order])).total
    assert after == pytest.approx(before, rel=1e-12)
    assert contest_score(predicted[::-1], measured, lists(training)).total < before - 0.1


def test_lists_are_by_mean_and_by_coefficient_of_variation_and_no_longer_than_the_genes() -> None:
    mean, variance = np.array([1.0, 3.0, -0.01, 2.0]), np.array([4.0, 1.0, 9.0, 0.0])
    found = GeneLists.of(mean, variance, 2, "over 5 samples")
    assert (found.heg.tolist(), found.hvg.tolist()) == ([1, 3], [0, 1])
    assert "HEG: the 2 genes of highest mean" in found.describe()
    assert len(GeneLists.of(mean, variance, 100, "").heg) == 4


# Tables


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    _, measured, _ = made(0)
    table = pd.DataFrame(measured, columns=[f"G{gene}.1" for gene in range(15)])
    table.insert(0, "ID", [f"TEST_{row:04d}" for row in range(40)])
    table.to_csv(tmp_path / "truth.csv", index=False)
    return tmp_path / "truth.csv"


DAMAGES = {
    "shuffled rows": (lambda t: t.iloc[[1, 0, *range(2, 40)]], "its IDs stand in another order", "number 1 is 'TEST_0001'"),
    "shuffled genes": (lambda t: t[["ID", "G1.1", "G0.1", *t.columns[3:]]], "its genes stand in another order", "'G0.1'"),
    "a row less": (lambda t: t.iloc[1:], "lacks 1 of the 40 IDs", "'TEST_0000'"),
    "a gene less": (lambda t: t.drop(columns="G4.1"), "lacks 1 of the 15 genes", "'G4.1'"),
    "a row more": (lambda t: pd.concat([t, t.iloc[:1].assign(ID="TEST_9999")]), "has 1 IDs that", "'TEST_9999'"),
    "a gene more": (lambda t: t.assign(other=1.0), "has 1 genes that", "'other'"),
    "a cell less": (lambda t: t.replace(t.iloc[3, 5], np.nan), "ID 'TEST_0003' has no number for gene 'G4.1'", "must hold"),
    "a row twice": (lambda t: pd.concat([t, t.iloc[:1]]), "ID 'TEST_0000' stands more than once", "once"),
    "words": (lambda t: t.assign(**{"G2.1": "much"}), "column 'G2.1' holds 'much'", "expected numbers"),
    "no ID": (lambda t: t.drop(columns="ID"), "has no column 'ID'", "found"),
    "no genes": (lambda t: t[["ID"]], "has no gene", "expected"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shuffled_or_incomplete_submission_is_refused(damage: str, truth: Path, tmp_path: Path) -> None:
    change, *said = DAMAGES[damage]
    change(pd.read_csv(truth)).to_csv(tmp_path / "submission.csv", index=False)
    with pytest.raises((DataError, MismatchError)) as caught:
        ContestTable.read(tmp_path / "submission.csv").check_same(ContestTable.read(truth))
    for words in (*said, "submission.csv"):
        assert words in str(caught.value)


def test_the_truth_itself_is_a_submission_and_path_is_no_gene(truth: Path, tmp_path: Path) -> None:
    table = pd.read_csv(truth)
    table.insert(1, "path", "./test/x.png")
    table.to_csv(tmp_path / "with_path.csv", index=False)
    found = ContestTable.read(tmp_path / "with_path.csv")
    found.check_same(ContestTable.read(truth))
    np.testing.assert_array_equal(found.columns(("G3.1", "G0.1")), table[["G3.1", "G0.1"]].to_numpy())
    with pytest.raises(MismatchError, match="lacks 1 of 2 genes, first 'other'"):
        found.columns(("G3.1", "other"))
