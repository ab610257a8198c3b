"""What a source of trunks hands to `bleep.encoders.image`, and how its faults are said."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from bleep.errors import ConfigError, WeightsError
from bleep.settings import ImageConfig


class Backbone(NamedTuple):
    """A network ready to be read, from whichever library it is."""

    model: Any
    """The network, its weights loaded, cut where it is read, adapters in place."""
    read: Callable[[Any, Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch channels"]]
    """Says the features of normalised pixels; the network is given to it, so that copies of a trunk stay apart."""
    mean: tuple[float, ...]
    """Mean of red, green and blue that its weights expect, of 1."""
    std: tuple[float, ...]
    """Their spread."""
    blocks: list[list[str]]
    """Names of each block's parameters, the stem first."""
    name: str
    """Name under which it can be built again."""


def whole_blocks(blocks: list[list[str]], model: Any) -> list[list[str]]:
    """Join what ends a network and holds no more than norms and scales to the block before it, which it belongs to."""
    flat = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    joined = list(blocks)
    while len(joined) > 1 and flat.issuperset(joined[-1]):
        last = joined.pop()
        joined[-1] = [*joined[-1], *last]
    return joined


@contextlib.contextmanager
def clear_errors(config: ImageConfig, pixels: int, help_with_weights: str) -> Iterator[None]:
    """Say in one sentence what a library could not do; `help_with_weights` is the way out where they cannot be fetched.

    Raises:
        ConfigError: the network cannot take tiles of so many pixels.
        WeightsError: the weights could not be fetched.

    """
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"image.trunk {config.trunk} cannot take tiles of {pixels} pixels: {line(error)}") from None
    except (OSError, RuntimeError) as error:
        if config.weights != "hub":
            raise ConfigError(f"image.trunk {config.trunk} cannot take tiles of {pixels} pixels: {line(error)}") from None
        kind = type(error).__name__
        raise WeightsError(
            f"the weights of {config.trunk} could not be fetched from the model hub ({kind}): {help_with_weights}"
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def clear_weights(path: Path, name: str) -> Iterator[None]:
    """Say in one sentence why weights of a local file are refused.

    Raises:
        WeightsError: there is no such file, it is no file of weights, or they do not fit.

    """
    if not path.is_file():
        raise WeightsError(f"image.weights: {path}: no such file; give a local .safetensors or .pth file, hub or random")
    try:
        yield
    except RuntimeError as error:
        details = [text.strip() for text in str(error).splitlines()[1:3]]
        if not details:
            raise WeightsError(f"{path}: cannot be read as weights ({line(error)[:100]}); is the file whole?") from None
        raise WeightsError(f"{path}: does not fit the trunk {name}: {' '.join(details)[:300]}") from None
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        raise WeightsError(f"{path}: cannot be read as weights ({type(error).__name__}); is the file whole?") from None
