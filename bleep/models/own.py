"""What is asked of networks that are not bleep's own, and said in one sentence where they do not give it."""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from bleep import registry
from bleep.errors import BleepError, ConfigError
from bleep.models.backbones import GIVEN, line
from bleep.models.backbones import small as small_nets
from bleep.models.backbones import torchvision as torchvision_trunks

WAY_OUT = "let the network's forward return one row of features a picture"


def is_own(name: str) -> bool:
    """Return whether a trunk of this name was given in Python, or is of another package."""
    return name.startswith(GIVEN) or name in registry.names("trunks")


def is_built_in(name: str) -> bool:
    """Return whether bleep, timm or torchvision has a trunk of this name."""
    from bleep.models.backbones import timm as timm_trunks

    if name in registry.OWN["trunks"] or small_nets.knows(name) or torchvision_trunks.knows(name):
        return True
    with contextlib.suppress(ConfigError):  # a foundation model that only another package can build
        return timm_trunks.knows(name)
    return False


def called(name: str) -> str:
    """Return how tables and cards name a trunk."""
    return f"{name.removeprefix(GIVEN)} (given in Python)" if name.startswith(GIVEN) else name


def spoken(name: str) -> str:
    """Return how sentences name a trunk."""
    return f"the trunk {name.removeprefix(GIVEN)}" if name.startswith(GIVEN) else f"image.trunk {name}"


def checked(said: object, name: str, pictures: int, width: int | None = None) -> Float[Tensor, "batch channels"]:
    """Return what a network gave for pictures, in float32 unless it computes in less.

    Args:
        said: what it gave.
        name: the trunk's.
        pictures: how many there were.
        width: features of a picture as it gave them before; none: not yet known.

    Raises:
        ConfigError: it is no tensor `[pictures, width]` of real numbers.

    """
    if isinstance(said, Tensor) and said.ndim == 2 and not said.is_complex():
        rows, found = said.shape
        if rows == pictures and found > 0 and found == (width or found):
            return said if said.dtype in (torch.float32, torch.bfloat16, torch.float16) else said.float()
    what = tuple(said.shape) if isinstance(said, Tensor) else f"a {type(said).__name__}"
    what = f"complex numbers {what}" if isinstance(said, Tensor) and said.is_complex() else what
    shown = "a picture" if pictures == 1 else f"{pictures} pictures"
    raise ConfigError(
        f"{spoken(name)}: gave {what} for {shown}; expected a tensor ({pictures}, {width or 'channels'}): {WAY_OUT}"
    )


@contextlib.contextmanager
def clear_own(name: str, pixels: int) -> Iterator[None]:
    """Say in one sentence that a network of somebody else fails on tiles of so many pixels; its own error stays the cause.

    Raises:
        ConfigError: see above.

    """
    try:
        yield
    except BleepError:
        raise
    except Exception as error:  # whatever the network raises
        raise ConfigError(
            f"{spoken(name)} cannot take tiles of {pixels} pixels (tiles.pixels): {type(error).__name__}: {line(error)}"
        ) from error
