"""The precision a frozen trunk computes in: bf16 where this machine is measurably fast in it, float32 elsewhere."""

import logging
import time
from functools import lru_cache

import torch

from bleep.config import ImageConfig, PrecisionName

FASTER = 1.5
"""How many times the speed of float32 bf16 must reach before it is taken."""
ROUNDS = 5
"""Measurements of each precision, of which the best counts: other work on the machine only ever slows one down."""

log = logging.getLogger(__name__)


def resolve_precision(config: ImageConfig, device: torch.device) -> PrecisionName:
    """Return what `image.precision` comes to on a device: itself, or for `auto` the choice, which is logged.

    A trunk that learns stays in float32, since accelerate decides what it trains in.
    """
    if config.precision != "auto":
        return config.precision
    if config.train != "frozen":
        return "float32"
    return "bf16" if fast_bf16(device.type) else "float32"


@lru_cache(maxsize=4)
def fast_bf16(device: str) -> bool:
    """Return whether the device has units for bf16, and a layer of a vision transformer runs on them much faster."""
    if not _has_units(device):
        log.info("image.precision auto: float32, since this %s has no units for bf16", device)
        return False
    ratio = _seconds(device, torch.float32) / _seconds(device, torch.bfloat16)
    chosen = "bf16" if ratio >= FASTER else "float32"
    log.info("image.precision auto: %s, since bf16 was measured at %.1f times the speed of float32", chosen, ratio)
    return ratio >= FASTER


def _has_units(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    facts = torch.cpu.get_capabilities()
    return bool(facts.get("amx_bf16") or facts.get("avx512_bf16") or facts.get("bf16"))


def _seconds(device: str, dtype: torch.dtype) -> float:
    """Return the least seconds that the two linear layers of one block take for eight tiles of 256 tokens."""
    tokens = torch.ones(8 * 256, 384, device=device)
    block = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384)).to(device)
    best = float("inf")
    with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for _ in range(1 + ROUNDS):
            _wait(device)
            start = time.perf_counter()
            block(tokens)
            _wait(device)
            best = min(best, time.perf_counter() - start)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
