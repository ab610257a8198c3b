"""Losses of other people: refused where nothing would call them, and tried before anything is written or removed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bleep
from bleep import registry
from bleep.config import Config
from bleep.errors import ConfigError, MismatchError
from bleep.runs import Run
from bleep.training.own_losses import CheckedLoss
from bleep.workflows.fit import fit

Tree = dict[str, Any]


def absolute(predicted: Tensor, measured: Tensor) -> Tensor:
    return (predicted - measured).abs().mean()


def pull(sides: Any, scale: Tensor) -> Tensor:
    return (sides.image - sides.expression).square().mean() * scale


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for loss in (absolute, pull):
        monkeypatch.setitem(registry._registered, ("losses", loss.__name__), loss)


@pytest.mark.parametrize(
    ("loss", "given", "said"),
    [
        ({"task": "contrastive", "more": {"absolute": 1.0}}, None, "loss.more names absolute, .* but loss.task is contrastive"),
        ({"task": "classify", "more": {"absolute": 1.0}}, None, "loss.more names absolute, .* but loss.task is classify"),
        ({"task": "regression", "form": "pull"}, None, "loss.form is pull, .* but loss.task is regression"),
        ({"task": "both", "regression": 0.0, "more": {"absolute": 1.0}}, None, "absolute is .* but loss.regression is 0"),
        ({"task": "classify"}, absolute, "given in Python, but loss.task is classify"),
        ({"task": "contrastive", "form": "pull"}, pull, "takes the place of loss.form pull"),
        ({"task": "regression", "more": {"absolute": 1.0}}, absolute, "takes the place of absolute of loss.more"),
        ({"task": "regression", "more": {"pull": 1.0}}, None, r"the loss pull failed \(AttributeError.*if it is a contrastive"),
        ({"task": "both", "form": "absolute"}, None, r"the loss absolute failed \(TypeError.*if it is a loss of predicted"),
        ({"task": "regression"}, nn.HuberLoss, "the loss HuberLoss is a class; expected an instance"),
        ({"task": "regression"}, lambda p, m: (p - m).mean() * 1j, "returned a complex number"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_a_loss_that_would_not_be_called_or_is_none_is_refused_before_anything_is_written(
    loss: Tree, given: Any, said: str, recipe: Callable[..., Tree], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(Config.load(recipe(tmp_path / "run", {"loss": loss})), loss=given)
    assert not [path for path in (tmp_path / "run").glob("*") if path.suffix in (".json", ".yaml", ".jsonl")]


def test_a_faulty_loss_costs_no_earlier_run_and_one_that_fails_in_the_first_epoch_blocks_nothing(
    run_copy: Callable[..., Path], recipe: Callable[..., Tree], tmp_path: Path
) -> None:
    over = {"loss": {"task": "regression"}, "optim": {"epochs": 1}}
    out = run_copy("regression")
    with pytest.raises(ConfigError, match=r"returned a tensor of shape \(12,\)"):
        fit(Config.load(recipe(out, over)), loss=lambda p, m: (p - m).square().mean(0), overwrite=True)
    assert Run.load(out).facts.epoch == 2
    assert (out / "state" / "last.safetensors").is_file()
    settings = Config.load(recipe(tmp_path / "new", over))
    with pytest.raises(ConfigError, match=r"no number in epoch 1, step 1: .*no epoch was whole, so there is nothing"):
        fit(settings, loss=lambda p, m: (p - m).mean() * float("nan"))
    assert (tmp_path / "new" / "log.jsonl").is_file()
    assert fit(settings, loss=absolute).facts.epoch == 0


class Counted(nn.Module):
    """A loss with a state, which draws random numbers."""

    calls: Tensor

    def __init__(self, *, learns: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=learns)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, predicted: Tensor, measured: Tensor) -> Tensor:
        self.calls += 1
        return (self.weight * predicted - measured + torch.rand(())).square().mean()


def test_the_call_before_training_changes_neither_the_loss_nor_random_numbers(
    recipe: Callable[..., Tree], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the loss is 'huber', a str; expected a function"):
        CheckedLoss("huber", contrastive=False)
    with pytest.raises(ConfigError, match=r"the loss Counted has weights of its own that learn.*requires_grad_\(False\)"):
        CheckedLoss(Counted(learns=True), contrastive=False)
    predicted = torch.randn(4, 3, requires_grad=True)
    loss, before = Counted(learns=False), torch.get_rng_state()
    CheckedLoss(loss, contrastive=False).rehearse(predicted, predicted.detach(), inputs=[predicted])
    assert torch.equal(torch.get_rng_state(), before)
    assert loss.calls == 0
    fit(Config.load(recipe(tmp_path / "run", {"loss": {"task": "regression"}, "optim": {"epochs": 1}})), loss=loss)
    assert loss.calls > 0


@pytest.mark.parametrize("task", ["regression", "contrastive"])
def test_a_loss_of_other_code_is_neither_resumed_nor_calibrated_nor_joined_with(
    task: str, known: Callable[..., None], recipe: Callable[..., Tree], tmp_path: Path
) -> None:
    form = task == "contrastive"
    settings: Tree = {"loss": {"task": task} | ({"form": "mine"} if form else {"more": {"mine": 2.0, "noisy": 0.1}})}

    def sides(*step: Any) -> tuple[Tensor, Tensor]:
        return (step[0].image, step[0].expression) if form else step

    def register(change: Callable[..., Tensor]) -> None:
        known("losses", "mine", lambda *step: change(*sides(*step)))

    def stop(epoch: int, score: float) -> None:
        raise InterruptedError

    known("losses", "noisy", lambda p, m: (p - m + torch.rand(())).square().mean())
    register(lambda p, m: (p - m).abs().mean())
    whole = fit(Config.load(recipe(tmp_path / "whole", settings)))
    assert [bool(numbers) for numbers in whole.facts.losses] == ([True] if form else [True, False])
    config = Config.load(recipe(tmp_path / "run", settings))
    with pytest.raises(InterruptedError):
        fit(config, on_epoch=stop)
    for change in (
        lambda p, m: (p - m).square().mean(),
        lambda p, m: 1.01 * (p - m).abs().mean(),
        lambda p, m: (0.5 * (p + p.detach()) - m).abs().mean(),
    ):
        register(change)
        with pytest.raises(MismatchError, match=r"training there began with the loss mine.* of other code than now, .*resume"):
            fit(config, resume=True)
    other = fit(Config.load(recipe(tmp_path / "other", settings, {"seed": 1, "optim": {"epochs": 1}})))
    assert other.facts.losses != whole.facts.losses
    if not form:
        with pytest.raises(MismatchError, match=r"was trained by the loss mine.* of other code than now, .*or train again"):
            bleep.calibrate(tmp_path / "whole")
        fit(Config.load(recipe(tmp_path / "third", settings, {"seed": 1})))
        with pytest.raises(MismatchError, match=r"third: has the loss mine.* of other code than the first run; evaluate them"):
            bleep.evaluate([tmp_path / "whole", tmp_path / "third"])
    register(lambda said, real: (real - said).abs().mean())
    assert fit(config, resume=True).weights_digest() == whole.weights_digest()
