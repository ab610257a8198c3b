"""Networks of one's own in the place of the trunk: told apart by what they do, copied, and answered in one sentence."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bleep.config import Config, ImageConfig
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.features import FeatureReader
from bleep.models.backbones import given
from bleep.models.factory import build_trunk
from bleep.models.fingerprint import alike, fingerprint
from bleep.runs import Run
from bleep.workflows.evaluate import _trunk_words, evaluate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit

SPEC = TileSpec(32, (64.0,))


class Own(nn.Module):
    """What its function makes of the pixels and, where it has weights, of eight mixtures of the mean colours."""

    def __init__(self, make: Callable[..., Any], *, weights: bool = True) -> None:
        super().__init__()
        self.make, self.mix = make, nn.Linear(3, 8) if weights else None

    def forward(self, pixels: Tensor) -> Any:
        return self.make(pixels) if self.mix is None else self.make(self.mix(pixels.mean((2, 3))), pixels)


def mean(pixels: Tensor) -> Tensor:
    """Hand-made features."""
    return torch.cat([pixels.mean((2, 3)), pixels.std((2, 3))], dim=1)


def largest(pixels: Tensor) -> Tensor:
    return torch.cat([pixels.amax((2, 3)), pixels.std((2, 3))], dim=1)


def trunk_of(network: nn.Module, **settings: Any) -> Any:
    return build_trunk(ImageConfig(precision="float32", **settings), 32, network)[0]


def test_features_are_kept_by_what_a_network_does(toys: tuple[Any, ...], tmp_path: Path) -> None:
    def read(make: Callable[[Tensor], Tensor]) -> np.ndarray:
        return FeatureReader(trunk_of(Own(make, weights=False)), tmp_path, workers=0).read(Tiles(toys[:1], SPEC))

    def kept() -> int:
        return len(list(tmp_path.iterdir()))

    first = read(mean)
    assert (kept(), np.array_equal(first, read(mean)), kept()) == (1, True, 1)
    assert (read(largest)[:, 0] > first[:, 0]).all()
    assert kept() == 2
    with pytest.raises(DataError, match=r"section toy1: the trunk .*Own gave features that are no finite numbers for \d+ of"):
        read(lambda pixels: mean(pixels) / (pixels[:, :1, 0, 0] > 2))
    assert kept() == 2


def test_fingerprints_bear_rounding_and_tell_small_features() -> None:
    trunk = trunk_of(Own(lambda x: mean(x) * torch.tensor([200.0, 150.0, 90.0, 1.0, 0.02, 0.0]), weights=False))
    found = fingerprint(trunk, 32)
    assert len(found) == 6
    assert found == fingerprint(trunk, 32)
    assert alike(found, [number * (1 + 1e-5) + 1e-6 for number in found])
    assert not alike(found, [*found[:4], 1.5 * found[4] + 1, found[5]])
    assert not alike(found, found[:5])
    assert len(fingerprint(trunk_of(Own(lambda x: x.flatten(1), weights=False)), 32)) == 32
    assert fingerprint(trunk_of(Own(lambda x: torch.rand(len(x), 4), weights=False)), 32) == ()
    assert fingerprint(build_trunk(ImageConfig(trunk="test_resnet", weights="random"), 32)[0], 32) == ()


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (lambda said, x: (said,), r"gave a tuple for a picture; expected a tensor \(1, channels\)"),
        (lambda said, x: {"x": said}, "gave a dict for a picture"),
        (lambda said, x: said.detach().numpy(), "gave a ndarray for a picture"),
        (lambda said, x: said[0], r"gave \(8,\) for a picture"),
        (lambda said, x: said[:, :0], r"gave \(1, 0\) for a picture"),
        (lambda said, x: said[:1], r"gave \(1, 8\) for 3 pictures; expected a tensor \(3, 8\)"),
        (lambda said, x: said[:, : 8 // len(x)], r"gave \(3, 2\) for 3 pictures"),
        (lambda said, x: said * 1j, "gave complex numbers"),
        (lambda said, x: {}[0], "cannot take tiles of 32 pixels .*KeyError: 0"),
        (lambda said, x: nn.functional.conv2d(x, torch.ones(1, 3, 64, 64)), "cannot take tiles of 32 pixels .*RuntimeError"),
        (lambda said, x: said.long(), "features depend on none of the weights"),
    ],
)
def test_what_is_no_row_of_features_a_picture_is_a_sentence(gives: Callable[..., Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"the trunk .*Own:? .*{words}"):
        trunk_of(Own(gives), train="full")


def test_what_is_no_network_is_a_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"the trunk Own is a class; expected a torch.nn.Module: give an instance of it: Own\(\)"
    ):
        given(Own, ImageConfig())
    with pytest.raises(ConfigError, match="the trunk mean is no module"):
        given(mean, ImageConfig())
    held = Own(mean, weights=False)
    held.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"the trunk Own cannot be copied \(.*lock.*\)"):
        given(held, ImageConfig())


@pytest.mark.filterwarnings("ignore:.*jit")
def test_doubles_and_scripted_networks_are_read() -> None:
    images = torch.randint(0, 255, (4, 1, 3, 32, 32), dtype=torch.uint8)
    assert trunk_of(Own(lambda said, x: said.double()))(images).dtype == torch.float32
    scripted = torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))
    assert trunk_of(scripted, train="full")(images).shape == (4, 4)


def test_a_run_of_hand_made_features_is_only_itself(recipe: Any, tmp_path: Path) -> None:
    """One network without weights: trained on, loaded, resumed, and joined with others in a table."""
    out = tmp_path / "run"
    config = Config.load(recipe(out, {"loss": {"task": "regression"}, "optim": {"epochs": 1}, "image": {"trunk": "resnet18"}}))

    def own_loss(predicted: Tensor, measured: Tensor) -> Tensor:
        return (predicted - measured).abs().mean()

    run = fit(config, trunk=Own(mean, weights=False), loss=own_loss)
    assert "Own (given in Python), frozen" in _trunk_words(run)
    assert len(run.facts.fingerprint) == 6
    assert Run.load(out, trunk=Own(mean, weights=False)).facts == run.facts
    with pytest.raises(
        MismatchError, match=r"was trained on .*Own, and .*Own, as it is here, gives other features .* train again"
    ):
        Run.load(out, trunk=Own(largest, weights=False))

    other = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for words, how in {
        "began with trunk .*Own .given in Python., and now none is given": {"loss": own_loss},
        "began with the losses .* = own_loss of .*, now it is none": {"trunk": Own(mean, weights=False)},
        "now it is mean of": {"trunk": Own(mean, weights=False), "loss": mean},
        "began with a trunk .*Own of other weights or other code": {"trunk": Own(largest, weights=False), "loss": own_loss},
        "began with trunk = .*Own, now it is .*Sequential": {"trunk": other, "loss": own_loss},
    }.items():
        with pytest.raises(MismatchError, match=words):
            fit(config, resume=True, **how)
    assert fit(config, resume=True, trunk=Own(mean, weights=False), loss=own_loss).weights_digest() == run.weights_digest()

    def joined(**facts: Any) -> None:
        changed = replace(run, facts=replace(run.facts, **facts), config=run.config.model_copy(update={"seed": 1}))
        evaluate([Experiment.of(run, out), Experiment.of(changed, tmp_path / "other")])

    for words, facts in {
        "has trunk = mine.Net, but the first regression run has .*Own": {"trunk": "given:mine.Net"},
        "has the losses .* = none, but": {"parts": ()},
        "has a frozen trunk .*Own of other weights or code than the first": {"fingerprint": (1.0,) * 6},
    }.items():
        with pytest.raises(MismatchError, match=words):
            joined(**facts)
    with pytest.raises(ConfigError, match=r"is the same run as .*run; name each run once"):
        evaluate([Experiment.of(run, out), Experiment.of(replace(run), tmp_path / "copy")])
    again = Run.load(out, trunk=Own(mean, weights=False))
    next(again.model.parameters()).data += 1
    with pytest.raises(MismatchError, match=r"other: has the seed and the tissue of .*run, but other weights"):
        evaluate([Experiment.of(run, out), Experiment.of(again, tmp_path / "other")])

    facts = json.loads((out / "run.json").read_text())
    del facts["fingerprint"]
    (out / "run.json").write_text(json.dumps(facts))
    assert Run.load(out, trunk=Own(largest, weights=False)).facts.fingerprint == (), "runs of before note none"


def test_what_a_network_does_is_noted_once_it_has_learnt(recipe: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Own(lambda said, x: said)
    settings = {"loss": {"task": "regression"}, "optim": {"epochs": 1}, "image": {"train": "full"}}
    run = fit(Config.load(recipe(tmp_path / "run", settings)), trunk=network)
    assert run.facts.fingerprint == fingerprint(run.model.trunk, 32) != fingerprint(trunk_of(network), 32)
    Run.load(tmp_path / "run", trunk=network)
    with pytest.raises(BleepError, match="gives other features of the same picture"):
        Run.load(tmp_path / "run", trunk=Own(lambda said, x: said.relu()))
