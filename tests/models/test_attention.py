"""Attention some heads at a time is PyTorch's own but for rounding, and stands aside where it does not fit."""

from typing import Any

import jaxtyping
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from bleep.config import ImageConfig
from bleep.models import attention
from bleep.models.attention import HeadsInTurn, attended, suited
from bleep.models.factory import build_trunk
from bleep.models.image import ImageTrunk


def heads(*shape: int, dtype: torch.dtype = torch.bfloat16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return queries, keys and values that lie in memory as one layer gives them."""
    batch, many, tokens, channels = shape
    drawn = torch.randn(batch, tokens, 3, many, channels, generator=torch.Generator().manual_seed(0))
    query, key, value = drawn.to(dtype).permute(2, 0, 3, 1, 4).unbind(0)
    return query, key, value


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Return the shapes that were computed here, on a processor without AMX."""
    seen: list[torch.Size] = []

    def noted(*given: torch.Tensor) -> torch.Tensor:
        seen.append(given[0].shape)
        return attended(*given)

    monkeypatch.setattr(attention, "attended", noted)
    monkeypatch.setattr(attention, "_bf16_without_amx", lambda: True)
    return seen


@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (3, 6, 65, 64), (2, 6, 257, 64), (2, 12, 1025, 32)])
def test_it_is_as_near_to_float32_as_bf16_allows(shape: tuple[int, ...]) -> None:
    given = heads(*shape)
    exact = scaled_dot_product_attention(*(part.double() for part in given))
    ours, theirs = attended(*given).double(), scaled_dot_product_attention(*given).double()
    assert ours.shape == exact.shape
    assert (ours - exact).norm() < 0.01 * exact.norm()
    assert (ours - exact).norm() < 3 * (theirs - exact).norm() + 1e-6


def test_bf16_on_a_cpu_is_computed_so_and_only_while_it_is_entered(counted: list[torch.Size]) -> None:
    given = heads(2, 3, 80, 16)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16), HeadsInTurn():
            scaled_dot_product_attention(*given)
        assert counted == [given[0].shape]
        scaled_dot_product_attention(*given)
    assert len(counted) == 1


@pytest.mark.parametrize(
    "options",
    [{"is_causal": True}, {"scale": 0.5}, {"attn_mask": torch.ones(80, 80, dtype=torch.bool).tril()}],
    ids=["causal", "scale", "mask"],
)
def test_options_are_left_to_pytorch(counted: list[torch.Size], options: dict[str, Any]) -> None:
    given = heads(2, 3, 80, 16)
    with torch.inference_mode():
        expected = scaled_dot_product_attention(*given, **options)
        with HeadsInTurn():
            assert torch.equal(scaled_dot_product_attention(*given, **options), expected)
    assert not counted


def test_what_does_not_fit_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = heads(2, 3, 70, 16)
    with torch.inference_mode():
        assert suited(query, key, value)
        assert not suited(query.float(), key.float(), value.float())
        assert not suited(query[:, :, :65], key, value)
        assert not suited(query, key[:, :1], value[:, :1])
        assert not suited(query[:0], key[:0], value[:0])
        assert not suited(*(part[:, :, :63] for part in (query, key, value)))
        monkeypatch.setattr(attention, "SCORES", 70**2 - 1)
        assert not suited(query, key, value)
        monkeypatch.setattr(attention, "SCORES", 70**2)
        assert suited(query, key, value)
    assert not suited(query, key, value)  # gradients are wanted


def test_it_is_entered_on_a_cpu_without_amx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_bf16_without_amx", lambda: True)
    assert isinstance(attention.attention(torch.device("cpu")), HeadsInTurn)
    assert not isinstance(attention.attention(torch.device("cuda")), HeadsInTurn)
    monkeypatch.setattr(attention, "_bf16_without_amx", lambda: False)
    assert not isinstance(attention.attention(torch.device("cpu")), HeadsInTurn)


def test_a_compiled_trunk_is_one_graph_without_it(counted: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = transformer("bf16")
    # PyTorch 2.7 cannot compile the checks of shapes that the tests add to every call.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    pixels = torch.randint(0, 256, (2, 1, 3, 160, 160), dtype=torch.uint8)
    with torch.inference_mode():
        found = torch._dynamo.explain(trunk)(pixels)
    assert not counted
    assert not any("attention" in str(reason) for reason in found.break_reasons)


def transformer(precision: str) -> ImageTrunk:
    torch.manual_seed(0)
    settings = {"trunk": "test_vit", "weights": "random", "layer": 1, "precision": precision}
    return build_trunk(ImageConfig.model_validate(settings), 160)[0]


def test_a_transformer_reads_by_it_in_bf16_alone(counted: list[torch.Size]) -> None:
    pixels = torch.randint(0, 256, (2, 1, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = {}
    for precision in ("float32", "bf16"):
        trunk = transformer(precision)
        counted.clear()
        with torch.inference_mode():
            found[precision] = trunk(pixels)
        assert bool(counted) == (precision == "bf16")
    off = (found["bf16"] - found["float32"]).norm() / found["float32"].norm()
    assert 0 < off < 0.02
