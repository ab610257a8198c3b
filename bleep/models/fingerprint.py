"""What networks that are not bleep's own do to one fixed picture: what their weights and names do not tell apart, this does.

Two networks of the same weights may pool by mean or by maximum, and a new version of a package may do other things than the
last. Features of tiles are cached by the fingerprint too, and a run is opened only with a network that has its fingerprint.
"""

import contextlib
import copy
import hashlib
import itertools
import logging
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from bleep import registry
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.models.backbones import GIVEN
from bleep.models.image import ImageTrunk
from bleep.models.own import is_own, spoken
from bleep.models.stored import StoredTrunk, Trunk
from bleep.registry import Origin

log = logging.getLogger(__name__)

MOST = 32
"""Numbers of a fingerprint; more features than that are joined to so many sums."""
TOLERANCE = 0.01
"""By what share of itself a number may differ, taken as at least a fiftieth of the numbers' spread, and at most all of it."""
ROUNDING = 1e-5
"""By what share of the largest number any may differ: two machines sum in other orders."""

_seen: WeakKeyDictionary[ImageTrunk, tuple[object, np.ndarray]] = WeakKeyDictionary()
"""Features of the fixed picture, with where the weights were, how often they had been changed, and the picture's side."""


def fingerprint(trunk: Trunk, pixels: int) -> tuple[float, ...]:
    """Return a few numbers of what own networks give for the fixed picture of that side; of all other trunks, nothing.

    It is computed in float32 on the CPU. A network that gives other features each time has no fingerprint.
    """
    found: list[float] = []
    for member in _own(trunk):
        once, again = (_short(_features(member, pixels, seed)) for seed in range(2))
        if not alike(once, again):
            return ()
        found += once
    return tuple(found)


def behaviour(trunk: Trunk, pixels: int) -> list[str]:
    """Return what features are cached by beside the weights of own networks: class, package's version, and the fingerprint."""
    return [_behaviour(member, pixels) for member in _own(trunk)]


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two fingerprints are of networks that do the same."""
    if len(one) != len(other) or not len(one):
        return len(one) == len(other)
    first, second = np.asarray(one), np.asarray(other)
    size, spread = np.abs(first), float(first.std())
    allowed = TOLERANCE * np.clip(size, spread / 50, max(spread, spread / 50)) + ROUNDING * size.max()
    return bool((np.abs(first - second) <= allowed).all())


def check_behaviour(
    where: str, noted: Sequence[float], trained: str, parts: Sequence[Origin], trunk: Trunk, pixels: int
) -> None:
    """Refuse an own network that is not the one that a run was trained on, though the run's weights fit into it.

    Args:
        where: the run, for the sentence.
        noted: the run's fingerprint; empty: of an older version, or none could be had.
        trained: name of the trunk that the run was trained on.
        parts: the run's parts of other packages.
        trunk: the trunk with the run's weights.
        pixels: side of the run's windows.

    Raises:
        MismatchError: naming both.

    """
    if not noted:
        return
    before = {part.name: part for part in parts if part.kind == "trunks"}
    now = {name: registry.origin("trunks", name) for name in before if name in registry.names("trunks")}
    others = [(before[name], now[name]) for name in now if now[name] != before[name]]
    same = alike(noted, fingerprint(trunk, pixels))
    if same:
        for old, new in others:
            log.info("%s: its trunk %s is of %s, and still does what that of %s did", where, new.name, said(new), said(old))
        return
    found = " and ".join(member.name.removeprefix(GIVEN) for member in _own(trunk)) or "bleep's own trunk of that name"
    way = "give the network that it was trained on (the same code and settings)"
    if before:
        old_words = " and ".join(f"{part.name} of {said(part)}" for part in before.values())
        new_words = " and ".join(f"{part.name} of {said(part)}" for part in now.values()) or found
        wanted = [f"{old.package}=={old.version}" for old, new in others if old.version]
        way = f"pip install {' '.join(wanted)}" if wanted else "put that code back as it was"
    else:
        old_words, new_words = trained.removeprefix(GIVEN), found
    raise MismatchError(
        f"{where}: was trained on {old_words}, and {new_words}, as it is here, gives other features of the same picture with "
        f"the run's weights; {way}, or train again"
    )


def try_out(trunk: ImageTrunk, pixels: int) -> None:
    """Pass three pictures through an own network, since one says nothing of how it treats several.

    Raises:
        ConfigError: it gives other rows or columns of features than it did of one; or it is to learn, and its features depend
            on none of its weights that learn.

    """
    shown = picture(max(pixels, trunk.least)).expand(3, -1, -1, -1)
    with torch.set_grad_enabled(trunk.learns):
        found = trunk.read(trunk.model, ((shown - trunk.mean) / trunk.std).contiguous(memory_format=trunk.format))
    if trunk.learns and not found.requires_grad:
        raise ConfigError(
            f"{spoken(trunk.name)} is to learn (image.train), but its features depend on none of the weights that would: let "
            "its forward return what gradients can pass through, or set image.train to frozen"
        )


def said(part: Origin) -> str:
    """Return the package and version of a part."""
    return f"{part.package} {part.version}".strip()


def device_of(trunk: Trunk) -> torch.device:
    """Return where a trunk is, which need not have any weights."""
    if isinstance(trunk, StoredTrunk):
        return trunk.device
    found: Tensor = next(itertools.chain(trunk.parameters(), trunk.buffers()))
    return found.device


def picture(side: int) -> Float32[Tensor, "1 3 side side"]:
    """Return the fixed picture: waves of three directions with noise on them, from 0 to 1."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (-2, 5), (7, 4))])
    noise = np.random.Generator(np.random.PCG64(20)).random(waves.shape)
    levels = np.round(255 * (0.5 + 0.3 * waves + 0.4 * (noise - 0.5))).clip(0, 255)
    return torch.from_numpy((levels / 255).astype(np.float32))[None]


def check_finite(
    features: Float32[np.ndarray, "tiles features"], trunk: Trunk, section: str
) -> Float32[np.ndarray, "tiles features"]:
    """Return the features that a trunk gave; those of one that learns are seen to while it does.

    Raises:
        DataError: a frozen trunk gave some that are no finite numbers.

    """
    wrong = 0 if trunk.learns else int((~np.isfinite(features)).any(axis=1).sum())
    if wrong:
        members = _members(trunk.opened() if isinstance(trunk, StoredTrunk) else trunk)
        names = " and ".join(dict.fromkeys(spoken(member.name) for member in members))
        raise DataError(
            f"section {section}: {names} gave features that are no finite numbers for {wrong} of {len(features)} tiles, and "
            "none of those is kept; mend the network, or set image.precision to float32 where it is less"
        )
    return features


def _members(trunk: Trunk) -> list[ImageTrunk]:
    return [one for one in trunk.modules() if isinstance(one, ImageTrunk)]


def _own(trunk: Trunk) -> list[ImageTrunk]:
    return [member for member in _members(trunk) if is_own(member.name)]


def _behaviour(member: ImageTrunk, pixels: int) -> str:
    kind, version = type(member.model), ""
    if member.name in registry.names("trunks"):
        version = registry.origin("trunks", member.name).version
    marks = (pixels, *((value.data_ptr(), value._version) for value in member.state_dict().values()))
    kept = _seen.get(member)
    if kept is None or kept[0] != marks:
        kept = _seen[member] = (marks, _features(member, pixels))
    # Four digits of each, those near zero by what is lost where large numbers cancel.
    size = np.abs(kept[1])
    step = 10 ** (np.floor(np.log10(np.maximum(size, max(1e-3 * size.max(), 1e-30)))) - 3)
    digits = np.round(kept[1] / step) * step
    text = " ".join(f"{value:.4g}" for value in digits + 0.0)
    return f"{kind.__module__}.{kind.__qualname__} {version} {hashlib.sha256(text.encode()).hexdigest()}"


def _features(member: ImageTrunk, pixels: int, seed: int = 0) -> Float64[np.ndarray, " features"]:
    """Return the features of the fixed picture, from a copy on the CPU; the network itself is used where it has no copy."""
    trained = member.training
    member.eval()
    model = member.model
    with contextlib.suppress(Exception), torch.no_grad():
        model = copy.deepcopy(model).cpu()
    weights = itertools.chain(model.parameters(), model.buffers())
    device = next((value.device for value in weights), torch.device("cpu"))
    shown = picture(max(pixels, member.least)).to(device)
    pixels_seen = ((shown - member.mean.to(device)) / member.std.to(device)).contiguous(memory_format=member.format)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = member.read(model, pixels_seen)
    member.train(trained)
    return np.nan_to_num(found[0].double().cpu().numpy(), nan=0.0, posinf=1e30, neginf=-1e30)


def _short(features: Float64[np.ndarray, " features"]) -> list[float]:
    if len(features) > MOST:
        signs = np.random.Generator(np.random.PCG64(20)).choice([-1.0, 1.0], size=(MOST, len(features)))
        features = signs @ features / np.sqrt(len(features))
    return [float(f"{value:.6g}") for value in features]
