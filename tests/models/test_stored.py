"""The trunk of a saved run is its weights until a tile must pass through it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from bleep.data.toy import toy_section
from bleep.errors import MismatchError
from bleep.features import trunk_digest
from bleep.models import factory
from bleep.models.stored import StoredTrunk
from bleep.runs import Run
from bleep.workflows.experiment import Experiment


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the networks that were built."""
    names: list[str] = []
    real = factory.build_trunk

    def counted(config: factory.ImageConfig, *others: object) -> object:
        names.append(config.trunk)
        return real(config, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(factory, "build_trunk", counted)
    return names


def test_nothing_is_built_where_all_features_are_cached(run_copy: Callable[..., Path], built: list[str]) -> None:
    folder = run_copy()
    tiles = Run.load(folder).tiles((toy_section("new", "donor9", 7, side=256, pitch=64),))
    first = Experiment(folder).predict(tiles)
    assert len(built) == 1
    second = Experiment(folder).predict(tiles)
    assert len(built) == 1
    assert np.array_equal(first.expression, second.expression)


def test_it_has_the_weights_and_the_digest_of_the_network_it_stands_for(
    run_copy: Callable[..., Path], built: list[str]
) -> None:
    folder = run_copy()
    run = Run.load(folder)
    trunk = run.model.trunk
    assert isinstance(trunk, StoredTrunk)
    weights = load_file(folder / "model.safetensors")
    state = run.model.state_dict()
    assert built == []
    assert {name: value.tolist() for name, value in state.items()} == {name: value.tolist() for name, value in weights.items()}
    before = trunk_digest(trunk)
    network = trunk.opened()
    assert len(built) == 1
    assert (trunk.reads, trunk.width, trunk.layer) == (network.reads, network.width, network.layer)
    assert trunk_digest(network) == trunk_digest(trunk) == before  # type: ignore[arg-type]
    images = torch.randint(0, 256, (2, len(run.spec.microns), 3, run.spec.pixels, run.spec.pixels), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(trunk(images), network(images))
    assert set(run.model.state_dict()) == set(state)


def test_weights_of_another_network_are_told_when_it_is_built(run_copy: Callable[..., Path]) -> None:
    folder = run_copy()
    weights = load_file(folder / "model.safetensors")
    first = next(name for name, value in weights.items() if name.startswith("trunk.model.") and value.ndim == 4)
    weights[first] = weights[first].flatten()[:1].clone()
    save_file(weights, folder / "model.safetensors")
    trunk = Run.load(folder).model.trunk
    with pytest.raises(MismatchError, match="does not fit its settings"):
        next(trunk.parameters())


def test_a_trunk_opened_in_inference_mode_still_gives_gradients(run_copy: Callable[..., Path]) -> None:
    run = Run.load(run_copy())
    trunk = run.model.trunk
    assert isinstance(trunk, StoredTrunk)
    images = torch.zeros(1, len(run.spec.microns), 3, run.spec.pixels, run.spec.pixels, dtype=torch.uint8)
    with torch.inference_mode():
        trunk(images)
    first = next(trunk.parameters())
    first.requires_grad_()
    trunk(images).sum().backward()
    assert first.grad is not None


def test_a_window_more_in_the_settings_is_told_when_the_trunk_is_opened(run_copy: Callable[..., Path]) -> None:
    folder = run_copy()
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["tiles"]["microns"] *= 2
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    run = Run.load(folder)
    with pytest.raises(MismatchError, match="its heads take"):
        next(run.model.trunk.parameters())
