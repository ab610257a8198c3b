"""The regression loss as settings make it, and the head that speaks of counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

import bleep
from bleep.config import Config, LossConfig, PanelConfig
from bleep.data.datasets import counts_of
from bleep.data.panel import GenePanel
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.models.factory import build_model, build_trunk
from bleep.models.heads import CountLink
from bleep.models.losses import pearson_distance
from bleep.models.models import Regressor
from bleep.runs import Run
from bleep.training.tasks import RegressionTask, Terms, task_of
from bleep.workflows.fit import fit

TEAM = {"mse": 1.0, "pearson": 1.0, "heg_mse": 5.0, "hvg_mse": 2.0, "top": 3}


def config(**loss: Any) -> LossConfig:
    return LossConfig.model_validate({"task": "regression", **loss})


@pytest.fixture(scope="module")
def panel(toys: tuple[Any, ...]) -> GenePanel:
    return GenePanel.fit(toys[:2], PanelConfig(size=12))


def regressor(**loss: Any) -> tuple[Regressor, Config]:
    tree = {"loss": {"task": "regression", **loss}, "image": {"trunk": "test_resnet", "weights": "random"}}
    whole = Config.load(tree)
    torch.manual_seed(0)
    made = build_model(build_trunk(whole.image, 32)[0], 12, whole)
    assert isinstance(made, Regressor)
    return made, whole


@pytest.mark.parametrize("hvg", ["variance", "cv"])
def test_the_loss_is_the_weighted_sum_over_genes_chosen_on_training_spots(hvg: str, panel: GenePanel) -> None:
    generator = torch.Generator().manual_seed(0)
    p, m = torch.randn(20, 12, generator=generator), torch.randn(20, 12, generator=generator)
    spread = panel.variance if hvg == "variance" else np.sqrt(panel.variance) / panel.mean
    heg, hvg_columns = np.argsort(-panel.mean)[:3].tolist(), np.argsort(-spread)[:3].tolist()
    square = (p - m) ** 2
    expected = square.mean() + pearson_distance(p, m) + 5 * square[:, heg].mean() + 2 * square[:, hvg_columns].mean()
    torch.testing.assert_close(Terms(config(**TEAM, hvg=hvg), panel)(p, m), expected)


def test_the_two_rules_of_variable_genes_differ_and_means_of_0_or_less_come_last(panel: GenePanel) -> None:
    assert panel.top(3, "cv").tolist() != panel.top(3, "variance").tolist()
    from bleep.data.normalize import ranked

    found = ranked(np.array([1.0, -1.0, 0.0, 2.0]), np.array([1.0, 9.0, 9.0, 16.0]), "cv")
    assert found.tolist() == [3, 0, 1, 2]


def test_terms_of_genes_need_a_panel_and_counts_need_sections(toys: tuple[Any, ...], panel: GenePanel) -> None:
    with pytest.raises(ConfigError, match=r"loss\.hvg_mse is of genes"):
        Terms(config(hvg_mse=1.0))
    model, whole = regressor(nb=1.0)
    for arguments in ((), (toys[:2],), ((), panel)):
        with pytest.raises(ConfigError, match=r"loss\.nb is a likelihood of counts, but no counts were given"):
            task_of(model, whole.loss, *arguments)


def test_a_loss_without_terms_is_refused() -> None:
    with pytest.raises(ConfigError, match="every term of the regression loss has weight 0"):
        Config.load({"loss": {"task": "regression", "mse": 0}})
    Config.load({"loss": {"task": "contrastive", "mse": 0}})


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"panel": {"normalise": "none"}}, "panel.normalise is none"),
        ({"panel": {"batch": "center"}}, "panel.batch is center"),
        ({"loss": {"nb": 1.0, "task": "both"}}, "loss.task is both: set loss.task to regression"),
        ({"loss": {"nb": 1.0}}, "loss.task is contrastive: set loss.task to regression"),
    ],
)
def test_counts_are_refused_where_there_are_none(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load({"loss": {"task": "regression", "nb": 1.0}} if "loss" not in over else {}, over)
    assert said in str(caught.value)


def test_values_that_are_no_whole_numbers_are_no_counts(toys: tuple[Any, ...], panel: GenePanel) -> None:
    from dataclasses import replace

    halved = toys[0].counts.copy()
    halved.X = sparse.csr_matrix(halved.X) * 0.5
    with pytest.raises(DataError, match=r"section toy1: holds .*\.5, which is no whole number"):
        counts_of((replace(toys[0], counts=halved),), panel)


@pytest.mark.parametrize("denominator", ["all", "panel"])
def test_rate_times_exposure_is_the_count(denominator: str, toys: tuple[Any, ...]) -> None:
    panel = GenePanel.fit(toys[:2], PanelConfig.model_validate({"size": 12, "denominator": denominator}))
    counts, log_exposure = counts_of(toys[:2], panel)
    values = np.concatenate([panel.values(section) for section in toys[:2]])
    rate = torch.from_numpy(np.expm1(values.astype(np.float64)))
    torch.testing.assert_close(rate * log_exposure.double().exp()[:, None], counts.double(), rtol=1e-4, atol=1e-4)


def test_the_link_of_counts_gives_log1p_of_the_rate_and_starts_at_the_training_mean(panel: GenePanel) -> None:
    link = CountLink(12)
    link.fit(panel.mean, panel.shift, panel.factor)
    said = torch.randn(5, 12, generator=torch.Generator().manual_seed(0)) * 3
    expected = np.log1p(link.log_rate(said).double().exp().numpy())
    np.testing.assert_allclose(panel.unscaled(link(said).numpy()), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(panel.unscaled(link(torch.zeros(1, 12)).numpy())[0], panel.mean, rtol=1e-3)


def test_the_likelihood_finds_rate_and_dispersion_of_drawn_counts(panel: GenePanel) -> None:
    # Counts of a known law, and a model that can say it: after training both are found.
    rng, spots = np.random.default_rng(0), 1500
    rate, dispersion = np.linspace(5, 60, 12), np.linspace(0.5, 4, 12)
    exposure = rng.uniform(0.5, 2, (spots, 1))
    drawn = rng.negative_binomial(dispersion, dispersion / (dispersion + rate * exposure), (spots, 12))
    from bleep.data.datasets import Counts
    from bleep.records import Batch

    model, whole = regressor(nb=1.0, mse=0.0)
    torch.nn.init.zeros_(model.head.weight)
    task = RegressionTask(
        model, whole.loss, panel, Counts(torch.from_numpy(drawn).float(), torch.from_numpy(np.log(exposure[:, 0])).float())
    )
    batch = Batch(torch.zeros(spots, model.head.in_features), torch.zeros(spots, 12), torch.arange(spots))
    optimizer = torch.optim.Adam([model.head.bias, task.log_dispersion], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        task.loss(task(batch)).backward()
        optimizer.step()
    with torch.no_grad():
        predicted = panel.unscaled(model.predict_features(batch.inputs[:1]).numpy())[0]
    np.testing.assert_allclose(np.expm1(predicted), rate, rtol=0.1)
    np.testing.assert_allclose(task.log_dispersion.detach().exp().numpy(), dispersion, rtol=0.2)


@pytest.mark.parametrize(
    "over",
    [
        {"loss": {"task": "regression", **TEAM}, "head": {"hidden": 8}},
        {"loss": {"task": "regression", "mse": 0.0, "nb": 1.0, "pearson": 0.5}},
        {"loss": {"task": "both", "mse": 0.0, "huber": 1.0, "log_cosh": 1.0, "pearson": 1.0}, "panel": {"scale": "minmax"}},
    ],
    ids=["weighted sum", "counts", "both"],
)
def test_losses_go_the_whole_way_and_a_loaded_run_predicts_the_same(over: dict[str, Any], recipe: Any, tmp_path: Path) -> None:
    run = fit(Config.load(recipe(tmp_path / "run", over)))
    loaded = Run.load(tmp_path / "run")
    assert loaded.weights_digest() == run.weights_digest()
    run.model.to(loaded.device)
    tiles = Tiles(bleep.load_split(run.config).test, run.spec)
    one, other = (bleep.RegressionPredictor(each).predict(tiles).expression for each in (run, loaded))
    np.testing.assert_array_equal(one, other)
    assert not any("dispersion" in name for name in run.model.state_dict())
    if "nb" in over["loss"]:
        assert one.min() > 0
        assert abs(one.mean() - run.panel.mean.mean()) < 0.5


def test_runs_on_different_scales_are_not_averaged_and_the_reason_is_said(recipe: Any, tmp_path: Path) -> None:
    for scale in ("zscore", "minmax"):
        tree = recipe(tmp_path / scale, {"loss": {"task": "regression"}, "panel": {"scale": scale}, "optim": {"epochs": 1}})
        fit(Config.load(tree))
    with pytest.raises(MismatchError, match=r"their losses are on different scales and say nothing of each other"):
        bleep.evaluate([tmp_path / "zscore", tmp_path / "minmax"])
