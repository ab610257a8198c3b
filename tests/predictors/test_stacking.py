"""The corrector of the combined predictor."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from sklearn.decomposition import PCA

from bleep.errors import MismatchError
from bleep.predictors.stacking import Basis, Stacker, StackingInput, fit_stacker, plain_stacker

GENES = 30


def section(seed: int, noise: dict[str, float], spots: int = 120) -> StackingInput:
    """Two hidden factors drive all genes; each member sees them through its own noise, `none` sees nothing."""
    axes = np.random.default_rng(99).normal(size=(2, GENES))
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(spots, 2)) @ axes
    level = rng.normal(size=GENES)
    members = {
        name: (np.zeros_like(signal) if name == "none" else signal) + sd * rng.normal(size=signal.shape)
        for name, sd in noise.items()
    }
    truth = signal + 1.5 * rng.normal(size=signal.shape) + level
    return StackingInput(
        {name: one.astype(np.float32) for name, one in members.items()}, truth.astype(np.float32), np.zeros(GENES)
    )


def fitted(noise: dict[str, float], axes: int = 5, shrink: float = 10.0) -> Stacker:
    seen = [section(seed, noise) for seed in range(3)]
    return fit_stacker(seen, Basis.of([one.truth for one in seen]), axes, shrink)


def error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Squared error within the section."""
    gap = predicted - truth
    return float(((gap - gap.mean(axis=0)) ** 2).mean())


def test_on_unseen_tissue_it_errs_less_than_each_member_and_their_mean() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5, "ridge": 2.5}
    stacker, unseen = fitted(noise), section(50, noise, 400)
    members = [error(one, unseen.truth) for one in unseen.predictions.values()]
    plain = error(np.mean(list(unseen.predictions.values()), axis=0), unseen.truth)
    assert error(stacker.apply(unseen.predictions), unseen.truth) < min(*members, plain)


def test_the_axes_of_expression_take_noise_away() -> None:
    noise = {"retrieval": 1.0, "regression": 1.0}
    unseen = section(51, noise, 400)
    with_axes, without = (fitted(noise, axes).apply(unseen.predictions) for axes in (5, 0))
    assert error(with_axes, unseen.truth) < 0.97 * error(without, unseen.truth)


def test_a_member_that_knows_nothing_gets_next_to_no_weight() -> None:
    stacker = fitted({"retrieval": 1.0, "none": 1.0})
    along = stacker.weights[:2]
    assert along[0].mean() > 10 * along[1].mean()


def test_members_that_know_nothing_are_shrunk_to_the_mean() -> None:
    noise = {"none": 1.0}
    stacker, unseen = fitted(noise), section(52, noise)
    away = stacker.apply(unseen.predictions) - stacker.mean
    assert np.abs(away).mean() < 0.15 * np.abs(unseen.predictions["none"]).mean()


def test_weights_are_never_negative_and_a_stronger_pull_makes_genes_alike() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5}
    loose, tight = fitted(noise, shrink=0.1), fitted(noise, shrink=1000.0)
    assert (loose.weights >= 0).all()
    assert tight.weights.std(axis=1).max() < 0.05 * loose.weights.std(axis=1).max()


def test_each_tile_is_corrected_by_itself() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5}
    stacker, unseen = fitted(noise), section(53, noise)
    whole = stacker.apply(unseen.predictions)
    half = stacker.apply({name: one[:40] for name, one in unseen.predictions.items()})
    np.testing.assert_allclose(half, whole[:40], rtol=1e-5, atol=1e-5)


def test_a_missing_member_is_refused() -> None:
    stacker = fitted({"retrieval": 1.0, "regression": 1.5})
    with pytest.raises(MismatchError, match="regression was not given"):
        stacker.apply({"retrieval": section(1, {"retrieval": 1.0}).predictions["retrieval"]})


@pytest.mark.parametrize("spots", [20, 120], ids=["fewer spots than genes", "more"])
def test_axes_are_the_principal_ones_of_values_within_sections(spots: int) -> None:
    tables = [section(seed, {}, spots // 2).truth * np.linspace(0.2, 5, GENES, dtype=np.float32) for seed in range(2)]
    basis = Basis.of(tables)
    within = np.concatenate([table - table.mean(axis=0) for table in tables])
    np.testing.assert_allclose(basis.mean, np.concatenate(tables).mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(basis.spread, within.std(axis=0), rtol=1e-4)
    expected = PCA(5).fit(within / within.std(axis=0)).components_
    np.testing.assert_allclose(np.abs(np.sum(basis.axes[:5] * expected, axis=1)), 1, rtol=1e-4)


def parts_by_hand(seen: list[StackingInput], basis: Basis, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what each member says along the axes, then beside them, and what was measured, within sections."""
    onto = basis.axes[:axes].T @ basis.axes[:axes]
    lengths = np.cumsum([0, *(len(one.truth) for one in seen)])

    def within(tables: list[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(tables).astype(np.float64)
        for start, stop in pairwise(lengths):
            whole[start:stop] -= whole[start:stop].mean(axis=0)
        return whole / basis.spread

    members = [within([one.predictions[name] for one in seen]) for name in seen[0].predictions]
    parts = [member @ onto for member in members] + [member - member @ onto for member in members]
    return np.stack(parts), within([one.truth for one in seen])


def test_weights_are_those_of_least_squares_for_each_gene_pulled_to_those_of_all() -> None:
    noise, shrink = {"retrieval": 1.0, "regression": 1.5, "ridge": 2.5}, 10.0
    seen = [section(seed, noise, spots) for seed, spots in enumerate((120, 60, 90))]
    basis = Basis.of([one.truth for one in seen])
    found = fit_stacker(seen, basis, 5, shrink)
    parts, truth = parts_by_hand(seen, basis, 5)
    shared = lsq_linear(parts.reshape(len(parts), -1).T, truth.ravel(), (0, np.inf)).x
    for gene in range(GENES):
        table = parts[:, :, gene].T
        pull = shrink * (table**2).sum() / len(parts)
        rows = np.concatenate([table, np.sqrt(pull) * np.eye(len(parts))])
        expected = lsq_linear(rows, np.concatenate([truth[:, gene], np.sqrt(pull) * shared]), (0, np.inf)).x
        np.testing.assert_allclose(found.weights[:, gene], expected, atol=2e-3)
    unseen = section(50, noise, 40)
    expected = 0.0
    for name, along, beside in zip(noise, found.weights[:3], found.weights[3:], strict=True):
        unit = (unseen.predictions[name] - basis.mean) / basis.spread
        leading = unit @ basis.axes[:5].T @ basis.axes[:5]
        expected = expected + along * leading + beside * (unit - leading)
    np.testing.assert_allclose(found.apply(unseen.predictions), expected * basis.spread + basis.mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [0, 2])
def test_the_mean_of_members_is_by_agreement_and_as_long_as_squared_error_asks(axes: int) -> None:
    noise = {"retrieval": 1.0, "regression": 3.0, "ridge": 6.0}
    seen = [section(seed, noise, spots) for seed, spots in enumerate((120, 60))]
    basis = Basis.of([one.truth for one in seen])
    parts, truth = parts_by_hand(seen, basis, axes)
    units = parts[:3] if axes else parts[3:]
    agreements = [np.mean([np.corrcoef(unit[:, gene], truth[:, gene])[0, 1] for gene in range(GENES)]) for unit in units]
    share = np.array(agreements) ** 4 / np.sum(np.array(agreements) ** 4)
    mean = np.einsum("m,mng->ng", share / units.std(axis=(1, 2)), units)
    gram, cross = (mean**2).sum(axis=0), (mean * truth).sum(axis=0)
    shared = cross.sum() / gram.sum()
    length = (cross + gram.mean() * shared) / (gram + gram.mean())
    assert (length > 0.1 * shared).all()
    expected = np.outer(share / units.std(axis=(1, 2)), length)
    weights = plain_stacker(seen, basis, axes).weights
    np.testing.assert_allclose(weights[:3], expected, rtol=1e-4)
    np.testing.assert_allclose(weights[3:], 0 if axes else expected, rtol=1e-4)


def test_a_gene_that_the_mean_foretells_upside_down_keeps_a_tenth_of_the_usual_length() -> None:
    seen = [section(seed, {"retrieval": 1.0, "regression": 1.0}) for seed in range(2)]
    for one in seen:
        one.truth[:, 3] *= -1
    weights = plain_stacker(seen, Basis.of([one.truth for one in seen]), 0).weights[0]
    usual = np.median(weights)
    assert 0.08 * usual < weights[3] < 0.2 * usual


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_a_gene_that_is_constant_but_for_rounding_is_not_divided_by_it(unit: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 1.0, (60, 4)).astype(np.float32)
    values[:, 2] = 3.7 * (1 + 1e-7 * rng.normal(size=60))
    basis, plain = Basis.of([(values * unit).astype(np.float32)]), Basis.of([values])
    assert basis.spread[2] == 1.0
    np.testing.assert_allclose(basis.spread[[0, 1, 3]], unit * plain.spread[[0, 1, 3]], rtol=1e-4)
    assert np.abs(basis.axes[:3, 2]).max() < 1e-5
