"""What a trunk computes in while it does not learn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bleep.errors import ConfigError

PRECISIONS = {"auto": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a trunk may compute in while it does not learn, by name; `auto`, before training has resolved it, is float32."""


def check_precision(dtype: torch.dtype, device: torch.device) -> None:
    """Refuse half precision on a CPU, where it is neither fast nor complete.

    Raises:
        ConfigError: half precision was asked for without a GPU.

    """
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError(
            "image.precision is fp16, which needs a GPU: set it to bf16 or float32 on a CPU "
            "(of a trained run, in its config.yaml)"
        )


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Keep cuDNN from TF32, its default, in which a tile's features depend on what it is batched with (docs/log.md)."""
    if device.type != "cuda":
        yield
        return
    now = torch.backends.cudnn
    with now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False):
        yield
