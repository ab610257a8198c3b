"""Simple members that look at tiles by section, and the plain mean that weights of few subjects lean to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.config import Config, ImageConfig
from bleep.data.section import Section
from bleep.features import FeatureReader
from bleep.models.backbones import textures
from bleep.models.factory import build_trunk
from bleep.predictors import members
from bleep.predictors.baselines import solve_ridge
from bleep.predictors.cross_fitting import trust_in
from bleep.predictors.descriptions import CLIP, section_colours, section_features, section_stains, section_textures
from bleep.predictors.members import (
    COMPONENTS,
    FITS,
    KINDS,
    TRAVEL,
    Linear,
    Nearest,
    PredictedComponents,
    SimplePredictor,
    _components,
    usable,
    worst_penalty,
)
from bleep.predictors.stacking import Basis, StackingInput, fit_stacker, plain_stacker, shrunk_stacker
from bleep.runs import Run


@pytest.fixture(scope="module")
def run(trained: dict[str, Path]) -> Run:
    return Run.load(trained["contrastive"])


def test_those_that_travel_are_members() -> None:
    assert set(TRAVEL) <= set(FITS)


@pytest.mark.parametrize("name", FITS)
def test_each_member_predicts_and_survives_its_arrays(name: str, run: Run, toys: tuple[Section, ...]) -> None:
    fitted = SimplePredictor.fit(run, name, run.tiles(toys[:2]))
    found = fitted.predict(run.tiles((toys[2],)))
    assert found.expression.shape == (len(toys[2]), len(run.panel.genes))
    assert np.isfinite(found.expression).all()
    again = SimplePredictor(run, name, KINDS[name].from_arrays(fitted.fitted.arrays()))
    np.testing.assert_allclose(again.predict(run.tiles((toys[2],))).expression, found.expression, atol=1e-4)


@pytest.mark.parametrize("describe", [section_colours, section_stains, section_textures])
def test_blocks_of_a_section_are_described_as_the_whole_is(describe: Any, run: Run, toys: tuple[Section, ...]) -> None:
    tiles = run.tiles((toys[2],))
    whole = describe(run, tiles)
    blocks = np.concatenate([describe(run, block) for block in tiles.blocks(7)])
    np.testing.assert_allclose(blocks, whole, atol=1e-4)
    assert np.abs(whole).max() <= CLIP
    assert np.abs(whole.mean(axis=0)).max() < 0.2


def test_the_penalty_is_that_of_the_worst_group() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 60)
    x = rng.normal(size=(180, 20)).astype(np.float32)
    signal = x @ rng.normal(size=(20, 5))
    # In the third group nothing holds of what the others teach.
    y = np.where((groups == 2)[:, None], rng.normal(size=(180, 5)) * signal.std(), signal).astype(np.float32)
    agreeing = worst_penalty(x[groups < 2], y[groups < 2], groups[groups < 2])
    assert worst_penalty(x, y, groups) > 100 * agreeing


def test_a_penalty_is_read_whatever_shape_its_one_number_has() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    arrays = Linear(solve_ridge(x, x[:, :2], (10.0,))[0]).arrays()
    assert Linear.from_arrays(arrays | {"alpha": np.float32(10.0).reshape(())}).ridge.alpha == 10
    with pytest.raises(ValueError, match="size 1"):
        Linear.from_arrays(arrays | {"alpha": np.ones(2, np.float32)})


def _seen(seed: int, noise: dict[str, float]) -> StackingInput:
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(100, 2)) @ np.random.default_rng(9).normal(size=(2, 12))
    members = {name: (signal + sd * rng.normal(size=signal.shape)).astype(np.float32) for name, sd in noise.items()}
    return StackingInput(members, (signal + rng.normal(size=signal.shape)).astype(np.float32), np.zeros(12))


def test_the_plain_mean_weighs_standardised_members_alike_whatever_their_scale() -> None:
    seen = [_seen(seed, {"one": 1.0, "other": 1.0}) for seed in range(2)]
    scaled = [replace(part, predictions={**part.predictions, "other": 7 * part.predictions["other"]}) for part in seen]
    basis = Basis.of([part.truth for part in seen])
    plain, same = (plain_stacker(parts, basis, 0) for parts in (seen, scaled))
    one, other = plain.apply(seen[0].predictions), same.apply(scaled[0].predictions)
    # A member's own level is no part of what is standardised.
    np.testing.assert_allclose(one - one.mean(axis=0), other - other.mean(axis=0), atol=1e-3)
    assert (plain.weights > 0).all()


def test_the_plain_mean_keeps_what_lies_along_the_axes_of_expression_alone() -> None:
    # Two axes carry all that can be foretold; what the members say beside them is noise.
    seen, (unseen,) = [_seen(seed, {"one": 2.0, "other": 2.0}) for seed in range(3)], [_seen(7, {"one": 2.0, "other": 2.0})]
    basis = Basis.of([part.truth for part in seen])
    scores = []
    for axes in (0, 2):
        stacker = plain_stacker(seen, basis, axes)
        found = stacker.apply(unseen.predictions)
        scores.append(np.corrcoef(found.T, unseen.truth.T).diagonal(12)[:12].mean())
    assert (stacker.weights[2:] == 0).all()
    assert scores[1] > scores[0] + 0.03


def test_several_numbers_of_axes_give_the_mean_of_what_lies_along_each() -> None:
    basis = Basis.of([np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)])
    values = np.random.default_rng(1).normal(size=(5, 12))
    found, each = basis.leading((1, 3, 8)), [basis.leading(count) for count in (1, 3, 8)]
    np.testing.assert_allclose(values @ found.T @ found, np.mean([values @ axes.T @ axes for axes in each], axis=0), atol=1e-12)
    assert [len(axes) for axes in (found, *each, basis.leading(0))] == [8, 1, 3, 8, 0]


def test_a_member_that_hardly_varies_on_left_out_tissue_has_no_say() -> None:
    seen = [_seen(seed, {"one": 1.0, "other": 1.0}) for seed in range(2)]
    still = [replace(part, predictions={**part.predictions, "other": 1e-7 * part.predictions["other"]}) for part in seen]
    basis = Basis.of([part.truth for part in still])
    stacker = plain_stacker(still, basis, 2)
    assert (stacker.weights[[1, 3]] == 0).all()
    assert (stacker.weights[0] > 0).all()


def test_a_member_that_fails_on_left_out_tissue_counts_little_and_one_among_equals_the_same() -> None:
    seen = [_seen(seed, {"one": 1.0, "other": 1.0, "failing": 30.0}) for seed in range(3)]
    basis = Basis.of([part.truth for part in seen])
    stacker = plain_stacker(seen, basis, 0)
    spreads = [np.concatenate([part.predictions[name] for part in seen]).std() for name in stacker.members]
    say = (stacker.weights[:3].mean(axis=1) * spreads).tolist()
    assert say[2] < 0.02 * say[0]
    assert say[1] == pytest.approx(say[0], rel=0.25)


def test_members_outside_the_prior_have_no_say_unless_it_names_none_of_them() -> None:
    seen = [_seen(seed, {"one": 1.0, "other": 1.0}) for seed in range(2)]
    basis = Basis.of([part.truth for part in seen])
    weights = plain_stacker(seen, basis, 0, ("one", "absent")).weights
    assert (weights[[0, 2]] > 0).all()
    assert (weights[[1, 3]] == 0).all()
    np.testing.assert_array_equal(plain_stacker(seen, basis, 0, ("absent",)).weights, plain_stacker(seen, basis, 0).weights)


@pytest.mark.parametrize("genes", [7, 60])
def test_components_are_those_of_the_singular_value_decomposition(genes: int) -> None:
    unit = np.random.default_rng(5).normal(size=(30, genes)).astype(np.float32)
    left, lengths, _ = np.linalg.svd(unit, full_matrices=False)
    expected = (left * lengths)[:, :COMPONENTS]
    found = _components(unit)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-3)


def test_component_retrieval_finds_neighbours_by_what_foretells_expression() -> None:
    rng = np.random.default_rng(1)
    says, groups = rng.normal(size=(400, 2)), np.repeat(np.arange(4), 100)
    values = (says @ rng.normal(size=(2, 12)) + 0.3 * rng.normal(size=(400, 12))).astype(np.float32)
    # Many features that say nothing, and vary most: plain neighbours go by them.
    described = np.concatenate([says, 2 * rng.normal(size=(400, 60))], axis=1).astype(np.float32)
    train, test = np.arange(400) < 300, np.arange(400) >= 300
    foretold = PredictedComponents.fit(described[train], values[train], groups[train]).values(described[test])
    plain = Nearest.fit(described[train], values[train]).values(described[test])
    assert np.mean((foretold - values[test]) ** 2) < 0.8 * np.mean((plain - values[test]) ** 2)


def test_trust_of_1_leaves_fitted_weights_and_of_0_gives_the_plain_mean() -> None:
    seen = [_seen(seed, {"good": 0.5, "poor": 4.0}) for seed in range(3)]
    basis = Basis.of([part.truth for part in seen])
    fitted, plain = fit_stacker(seen, basis, 0, 10.0), plain_stacker(seen, basis, 0)
    np.testing.assert_array_equal(shrunk_stacker(seen, basis, 0, 10.0, 1.0).weights, fitted.weights)
    np.testing.assert_array_equal(shrunk_stacker(seen, basis, 0, 10.0, 0.0).weights, plain.weights)
    half = shrunk_stacker(seen, basis, 0, 10.0, 0.5).weights
    np.testing.assert_allclose(half, (fitted.weights + plain.weights) / 2)


def test_trust_in_fitted_weights_grows_with_the_subjects_left_out() -> None:
    assert trust_in(1) == 0
    assert trust_in(5) == 0.5
    assert 0 < trust_in(2) < trust_in(3) < trust_in(50) < 1


def test_a_section_of_thirty_tiles_is_standardised_by_its_own_as_larger_ones_are(run: Run, toys: tuple[Section, ...]) -> None:
    few = section_features(run, run.tiles((toys[2].subset(np.arange(30)),)))
    np.testing.assert_allclose(few.mean(axis=0), 0, atol=0.05)
    fewer = section_features(run, run.tiles((toys[2].subset(np.arange(10)),)))
    assert np.abs(fewer.mean(axis=0)).max() > 0.1


@pytest.mark.parametrize("name", ["robust ridge on textures", "component retrieval on textures"])
def test_a_few_tiles_are_standardised_by_the_textures_of_training(run: Run, toys: tuple[Section, ...], name: str) -> None:
    fitted = SimplePredictor.fit(run, name, run.tiles(toys[:2]))
    whole = fitted.predict(run.tiles(toys[2:3])).expression
    alone = [fitted.predict(run.tiles((toys[2].subset(np.array([row])),))).expression[0] for row in range(0, 60, 6)]
    assert np.std(alone, axis=0).mean() > 0.2 * whole.std(axis=0).mean()
    arrays = fitted.fitted.arrays()
    again = SimplePredictor(run, name, FITS[name].kind.from_arrays(arrays))
    few = run.tiles((toys[2].subset(np.arange(5)),))
    np.testing.assert_allclose(again.predict(few).expression, fitted.predict(few).expression, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("moments", [True, False])
def test_members_on_textures_of_before_see_no_middles(run: Run, toys: tuple[Section, ...], moments: bool) -> None:
    tiles, others = run.tiles(toys[:2]), run.tiles(toys[2:3])
    trunk, _ = build_trunk(ImageConfig(trunk=textures.NAME, precision="float32"), run.spec.pixels)
    plain = FeatureReader(trunk, None).read(tiles)
    whole = np.stack([plain.mean(axis=0), plain.std(axis=0)]) if moments else None
    values = np.concatenate([run.panel.values(section) for section in tiles.sections])
    name = "robust ridge on textures"
    older = FITS[name].fit(section_textures(run, tiles, whole), values, np.arange(len(values)) % 2)
    read = FITS[name].kind.from_arrays(replace(older, moments=whole).arrays())
    assert len(read.ridge.mean) == trunk.width * len(run.spec.microns)
    assert np.isfinite(SimplePredictor(run, name, read).predict(others).expression).all()


def test_tiles_too_small_for_textures_do_without_those_members(run: Run) -> None:
    assert set(usable(run)) == set(FITS)
    small = Run(Config.load(run.config.dump(), {"tiles": {"pixels": 8}}), run.model, run.panel, run.facts)
    assert set(FITS) - set(usable(small)) == {name for name in FITS if name.endswith("on textures")}


def test_the_mean_of_the_nearest_is_that_of_a_stable_sort_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    keys = members._unit(random.normal(size=(700, 3)).astype(np.float32))
    keys[40:140] = keys[0]  # more that are equal than are averaged, across the last place, too
    queries = np.concatenate([keys[:1], keys[200:203], members._unit(random.normal(size=(600, 3)).astype(np.float32))])
    measured = random.normal(size=(700, 4)).astype(np.float32)
    rows = np.concatenate(
        [np.argsort(-(queries[at : at + 512] @ keys.T), axis=1, kind="stable")[:, : members.NEAREST] for at in (0, 512)]
    )
    assert (np.diff(rows[0]) > 0).all()
    monkeypatch.setattr(np, "argsort", None)  # A sort of 20,000 kept tiles for each tile of a slide took ten minutes a member.
    np.testing.assert_array_equal(members._mean_of_nearest(queries, keys, measured), measured[rows].mean(axis=1))
    np.testing.assert_allclose(members._mean_of_nearest(queries, keys[:3], measured[:3])[0], measured[:3].mean(axis=0))
