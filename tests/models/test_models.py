"""What stands on the trunk: heads, both encoders, and their temperature."""

import math

import pytest
import torch

from bleep.config import Config
from bleep.errors import MismatchError
from bleep.models.factory import build_model, build_trunk
from bleep.models.heads import ExpressionEncoder, ProjectionHead, Standardizer, regression_head
from bleep.models.image import ImageTrunk
from bleep.models.models import BIAS, COLDEST, WARMEST


def config(**over: object) -> Config:
    return Config.load({"image": {"trunk": "test_resnet", "weights": "random"}, "head": {"dim": 8}, **over})


@pytest.fixture(scope="module")
def trunk() -> ImageTrunk:
    torch.manual_seed(0)
    return build_trunk(config().image, 32)[0]


def tiles(windows: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (4, windows, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
def test_embeddings_are_of_unit_length(hidden: tuple[int, ...], trunk: ImageTrunk) -> None:
    pair = build_model(trunk, 6, config(expression={"hidden": hidden})).eval()(tiles(), torch.randn(4, 6))
    for side in (pair.image, pair.expression):
        torch.testing.assert_close(side.norm(dim=1), torch.ones(4))


def test_the_published_norm_is_the_layer_norm_alone(trunk: ImageTrunk) -> None:
    pair = build_model(trunk, 6, config(head={"dim": 8, "norm": "layer"})).eval()(tiles(), torch.randn(4, 6))
    torch.testing.assert_close(pair.image.norm(dim=1), torch.full((4,), math.sqrt(8)), rtol=1e-3, atol=1e-3)


def test_tiles_and_their_cached_features_give_the_same_embedding(trunk: ImageTrunk) -> None:
    model = build_model(trunk, 6, config(tiles={"microns": [32.0, 64.0]})).eval()
    shown, values = tiles(2), torch.randn(4, 6)
    features = trunk(shown)
    torch.testing.assert_close(model(shown, values).image, model(features, values).image)
    torch.testing.assert_close(model(shown, values).image, model.embed_features(features))
    regressor = build_model(trunk, 6, config(tiles={"microns": [32.0, 64.0]}, loss={"task": "regression"})).eval()
    torch.testing.assert_close(regressor(shown), regressor.predict_features(features))


@pytest.mark.parametrize(("start", "kept"), [(1e-5, COLDEST), (50.0, WARMEST)])
def test_a_temperature_that_learns_stays_within_its_bounds(start: float, kept: float, trunk: ImageTrunk) -> None:
    model = build_model(trunk, 6, config(loss={"temperature": start}))
    pair = model(tiles(), torch.randn(4, 6))
    assert float(1 / pair.scale.detach()) == pytest.approx(kept, rel=1e-4)
    assert model.log_scale.requires_grad


def test_a_fixed_temperature_is_the_one_given(trunk: ImageTrunk) -> None:
    model = build_model(trunk, 6, config(loss={"temperature": 2.5, "learn_temperature": False}))
    assert float(1 / model(tiles(), torch.randn(4, 6)).scale) == pytest.approx(2.5, rel=1e-5)
    assert not model.log_scale.requires_grad


def test_the_standardiser_brings_training_features_to_mean_0_and_spread_1() -> None:
    layer, features = Standardizer(5), torch.randn(40, 5) * 3 + 2
    features[:, 2] = 7
    torch.testing.assert_close(layer(features), features)
    layer.fit(features)
    out = layer(features)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std(dim=0, correction=0)[[0, 1, 3, 4]], torch.ones(4))
    assert out[:, 2].abs().max() < 1e-5
    assert not list(layer.parameters())


def test_the_projection_head_is_that_of_the_paper() -> None:
    head = ProjectionHead(6, 8, 0.5).eval()
    features = torch.randn(3, 6)
    projected = head.project(features)
    gelu = torch.nn.functional.gelu(projected)
    linear = head.refine[1]
    torch.testing.assert_close(head(features), head.norm(projected + gelu @ linear.weight.T + linear.bias))


def test_the_regression_head_is_linear_or_has_one_hidden_layer() -> None:
    assert [type(part).__name__ for part in [regression_head(4, 3, 0, 0.1)]] == ["Linear"]
    assert [type(part).__name__ for part in regression_head(4, 3, 5, 0.1)] == ["Linear", "SiLU", "Dropout", "Linear"]


def test_an_expression_encoder_with_no_layer_hands_values_on() -> None:
    values = torch.randn(3, 6)
    plain = ExpressionEncoder(6)
    torch.testing.assert_close(plain(values), values)
    assert (plain.width, ExpressionEncoder(6, (4, 9)).width) == (6, 9)


@pytest.mark.parametrize(
    ("loss", "more"),
    [
        ({"form": "siglip", "targets": "hard"}, {"bias"}),
        ({"task": "both"}, {"regression_head.weight", "regression_head.bias"}),
        ({"near": 150.0, "alike": 0.9}, set()),
    ],
)
def test_only_what_asks_for_more_weights_has_them_and_the_others_are_the_same(
    loss: dict[str, object], more: set[str], trunk: ImageTrunk
) -> None:
    states = []
    for settings in ({}, loss):
        torch.manual_seed(7)
        states.append(build_model(trunk, 6, config(loss=settings)).state_dict())
    plain, found = states
    assert set(found) - set(plain) == more
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value)


def test_siglips_bias_starts_as_published_and_clip_has_none(trunk: ImageTrunk) -> None:
    siglip = build_model(trunk, 6, config(loss={"form": "siglip", "targets": "hard", "temperature": 0.1}))
    pair = siglip(tiles(), torch.randn(4, 6))
    assert (float(pair.bias.detach()), BIAS) == (-10, -10)
    assert float(pair.scale.detach()) == pytest.approx(10)
    assert pair.bias.requires_grad
    assert float(build_model(trunk, 6, config())(tiles(), torch.randn(4, 6)).bias) == 0


@pytest.mark.parametrize("hidden", [0, 5])
def test_the_head_of_both_tasks_reads_the_features_the_projection_reads(hidden: int, trunk: ImageTrunk) -> None:
    model = build_model(trunk, 6, config(loss={"task": "both"}, head={"dim": 8, "hidden": hidden, "dropout": 0.3})).eval()
    model.standardize.fit(torch.randn(20, trunk.width) * 3 + 1)
    pair = model(tiles(), torch.randn(4, 6))
    assert model.regression_head is not None
    torch.testing.assert_close(pair.predicted, model.regression_head(pair.features))
    torch.testing.assert_close(pair.predicted, model.predict_features(trunk(tiles())))


def test_a_contrastive_model_predicts_no_values(trunk: ImageTrunk) -> None:
    model = build_model(trunk, 6, config())
    assert model(tiles(), torch.randn(4, 6)).predicted.shape == (4, 0)
    with pytest.raises(MismatchError, match="no regression head"):
        model.predict_features(torch.randn(4, trunk.width))
