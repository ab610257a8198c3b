"""Bring the stains of a section's tiles to those of the training tiles, without looking at anything measured.

Reinhard's rule (Reinhard et al., IEEE Computer Graphics and Applications 21(5):34, 2001) gives each channel of an opponent
colour space the mean and spread of the target's. Macenko's (Macenko et al., ISBI 2009) finds the two stains of a section in
its optical densities, and gives them the target's colours and strengths. Either is one affine map, for a whole section, of
the three logarithms of a pixel's light. Both look at tissue alone, and glass stays as it is.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from bleep.config import StainName
from bleep.data.slides.base import picture_key
from bleep.data.tiles import Tiles
from bleep.records import STAINS, UNMIX, Batch

CLEAR = 0.15
"""Optical density below which a pixel lets light through like glass (Macenko et al., ISBI 2009)."""
GREY = 30
"""Channels of glass differ by less than this, of 255: pale tissue is as bright, but coloured."""
VECTORS = np.array(STAINS, dtype=np.float32)
"""Optical density of haematoxylin and of eosin."""
_BRIGHT = 256 * 10**-CLEAR - 1


def optical_density(tile: UInt8[np.ndarray, "3 height width"]) -> Float32[np.ndarray, "3 height width"]:
    """Return how much light each pixel takes, by Beer and Lambert: -log10 of the share let through; white is 0."""
    return -np.log10((tile.astype(np.float32) + 1) / 256)


def glass(tile: UInt8[np.ndarray, "3 height width"]) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that show bare glass: clear in every channel, and grey."""
    low, high = tile.min(axis=0).astype(np.int16), tile.max(axis=0).astype(np.int16)
    return (low > _BRIGHT) & (high - low < GREY)


def stains(density: Float[np.ndarray, "3 pixels"]) -> Float[np.ndarray, "2 pixels"]:
    """Return the optical density of haematoxylin and of eosin, by least squares; what falls below zero is zero."""
    return np.maximum(UNMIX.T.astype(density.dtype) @ density, 0)


DAB = (0.27, 0.57, 0.78)
"""Optical density of diaminobenzidine in red, green and blue (Ruifrok & Johnston 2001)."""
HED = np.array([*VECTORS, DAB]) / np.linalg.norm([*VECTORS, DAB], axis=1, keepdims=True)
"""The three stains, each of unit length."""
PIECE = 32
"""Spots worked on at a time: bounds the memory of what lies between, and stays in a processor's cache."""
_STAIN = 0x57A1
"""Told to the generator beside seed and epoch, so that it repeats neither the order of the spots nor their turns."""

Images = UInt8[Tensor, "batch windows 3 height width"]
Maps = Float32[Tensor, "batch 3 4"]
"""For each spot and new colour: the weight of each old one's density, and what is added."""


@final
@dataclass(frozen=True, slots=True)
class StainJitter:
    """Gives the stains of each training spot a new strength in each epoch."""

    seed: int
    spots: int
    """Training spots there are."""
    strength: float
    """Factors are drawn from 1 - strength to 1 + strength, shifts from -strength to strength (decadic optical density)."""

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch with its tiles jittered; strength 0 returns it as it is."""
        if self.strength == 0:
            return batch
        maps = _all_maps(self.seed, epoch, self.spots, self.strength, batch.inputs.device)
        return batch._replace(inputs=jittered(batch.inputs, maps[batch.rows]))


def drawn(seed: int, epoch: int, spots: int, strength: float) -> Float[np.ndarray, "spots 2 3"]:
    """Draw factor and shift of each stain for every spot; a spot's do not depend on how many others there are."""
    jitter = np.random.default_rng([seed, epoch, _STAIN]).uniform(-strength, strength, (spots, 2, 3))
    jitter[:, 0] += 1
    return jitter


def maps_of(jitter: Float[np.ndarray, "spots 2 3"]) -> Maps:
    """Return the affine map of each spot's optical densities that its factors and shifts amount to."""
    weights = np.einsum("rs,ns,sc->ncr", np.linalg.inv(HED), jitter[:, 0], HED)
    return torch.from_numpy(np.concatenate([weights, (jitter[:, 1] @ HED)[:, :, None]], axis=2).astype(np.float32))


def jittered(images: Images, maps: Maps) -> Images:
    """Return tiles whose optical densities went through their spots' maps, all windows of a spot alike.

    Density is -log10 of (grey + 1) / 256, as in `bleep.data.stain`; what becomes brighter than white is white.
    """
    out = torch.empty_like(images)
    for at in range(0, len(images), PIECE):
        out[at : at + PIECE] = _piece(images[at : at + PIECE], maps[at : at + PIECE])
    return out


def _piece(images: Images, maps: Maps) -> Images:
    # Powers of 2 are faster than those of 10; the weights are the same for any base, and the shift is brought to it.
    light = torch.log2(images.float() + 1) - 8
    weights, shift = maps[:, :, :3, None, None, None], maps[:, :, 3, None, None, None] / np.log10(2)
    old = light.unbind(2)
    # One colour after another, number by number: a product of matrices may round otherwise in a batch of another size.
    new = [sum((w * o for w, o in zip(weights[:, c].unbind(1), old, strict=True)), -shift[:, c]) for c in range(3)]
    return (torch.exp2(torch.stack(new, 2) + 8) - 1).round_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=2)
def _all_maps(seed: int, epoch: int, spots: int, strength: float, device: torch.device) -> Float32[Tensor, "spots 3 4"]:
    """Return every spot's map of an epoch where the tiles are, so that a step moves nothing and waits for nothing."""
    return maps_of(drawn(seed, epoch, spots, strength)).to(device)


TILES, PIXELS, LEAST = 64, 4096, 500
"""Tiles of a section that are looked at, pixels of each, and the pixels of tissue below which nothing can be said."""
PARALLEL = 1e-4
"""Sine of the angle between two stains below which tissue has one colour, and no stains to tell."""
NARROW = 0.01
"""Density between two percentiles of a stain below which tissue has one colour, and nothing is stretched."""
LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""From red, green and blue to the responses of the three cones (Reinhard et al. 2001, equation 4)."""
LAB = np.diag(1 / np.sqrt([3, 6, 2])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
"""From the logarithms of those to lightness, yellow against blue and red against green (equation 6)."""
ANGLES = (1.0, 99.0)
"""Percentiles of the angles between which all stain directions are taken to lie (Macenko et al. 2009)."""

STRETCHED = (0.1, 0.0, 1.0, 0.4)
"""Optical density of haematoxylin and eosin that a stretch brings the 1st percentile of a section's tissue to, and the 99th."""

log = logging.getLogger(__name__)

Numbers = Float32[np.ndarray, " numbers"]
Light = Float[np.ndarray, "pixels 3"]
_known: dict[str, Numbers] = {}
"""How the last few sections are stained."""


def _reinhard(light: Light) -> np.ndarray:
    opponent = np.log10(light @ LMS.T) @ LAB.T
    return np.concatenate([opponent.mean(axis=0), opponent.std(axis=0)])


def _macenko(light: Light) -> np.ndarray:
    density = -np.log10(light)
    stained = density[(density > CLEAR).all(axis=1)]
    if len(stained) < LEAST:
        return np.zeros(8)
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    # Densities are positive, so the axes of their plane are turned to where most of them lie.
    plane = plane * np.where((stained @ plane).mean(axis=0) < 0, -1, 1)
    angles = np.arctan2(*(stained @ plane).T[::-1])
    first, last = np.percentile(angles, ANGLES)
    ends = np.array([[np.cos(first), np.sin(first)], [np.cos(last), np.sin(last)]]) @ plane.T
    # Haematoxylin takes more red than eosin does.
    vectors = ends[np.argsort(-ends[:, 0])]
    if np.linalg.norm(np.cross(*vectors)) < PARALLEL:
        return np.zeros(8)
    strengths = np.percentile(stained @ np.linalg.pinv(vectors), 99, axis=0)
    return np.concatenate([vectors.ravel(), strengths])


def _stretch(light: Light) -> np.ndarray:
    low, high = np.percentile(-np.log10(light) @ np.linalg.pinv(HED[:2]), ANGLES, axis=0)
    return np.concatenate([low, high]) if (high - low > NARROW).all() else np.zeros(4)


MEASURES: dict[StainName, Callable[[Light], np.ndarray]] = {"reinhard": _reinhard, "macenko": _macenko, "stretch": _stretch}
"""How light through tissue is said in a few numbers; all 0: there was too little tissue, or it is of one colour."""


def measured(kind: StainName, tiles: Tiles) -> Numbers:
    """Return how tiles are stained, from pixels of tissue spread over them; too little to tell is said, and gives zeros."""
    light = _light(tiles)
    numbers = MEASURES[kind](light) if len(light) >= LEAST else np.zeros({"reinhard": 6, "macenko": 8, "stretch": 4}[kind])
    if not numbers.any():
        names = ", ".join(section.name for section in tiles.sections)
        log.warning(
            "section %s: too little tissue, or of one colour: its stains are unknown (image.stain %s); it is left as it is",
            names,
            kind,
        )
    return numbers.astype(np.float32)


def target_of(kind: StainName, tiles: Tiles) -> Numbers:
    """Return what sections are brought to: how the training tiles are stained, or under a stretch what all sections are."""
    return np.array(STRETCHED, np.float32) if kind == "stretch" else measured(kind, tiles)


def source_of(kind: StainName, tiles: Tiles) -> Numbers:
    """Return how one section is stained, over all tiles it was opened with; remembered, so asking again costs nothing."""
    sections = tiles.whole or tiles.sections
    (section,) = sections
    xy = hashlib.sha256(np.ascontiguousarray(section.xy).tobytes()).hexdigest()
    key = f"{kind} {picture_key(section.slide)} {section.mpp} {tiles.spec} {xy}"
    if key not in _known:
        while len(_known) > 16:
            del _known[next(iter(_known))]
        _known[key] = measured(kind, Tiles(sections, tiles.spec, tiles.kept))
    return _known[key]


def map_of(kind: StainName, source: Numbers, target: Numbers) -> Float32[np.ndarray, "3 4"]:
    """Return the affine map of a pixel's three logarithms that brings one staining to another."""
    if not source.any() or not target.any():
        return np.eye(3, 4, dtype=np.float32)
    source, target = source.astype(np.float64), target.astype(np.float64)
    if kind == "reinhard":
        gain = target[3:] / np.maximum(source[3:], 1e-6)
        weights = np.linalg.inv(LAB) @ np.diag(gain) @ LAB
        shift = np.linalg.inv(LAB) @ (target[:3] - gain * source[:3])
    elif kind == "stretch":
        gain = np.append((target[2:] - target[:2]) / (source[2:] - source[:2]), 1.0)
        mixed = _with_rest(HED[:2].ravel())
        weights = (np.linalg.inv(mixed) @ np.diag(gain) @ mixed).T
        shift = (target[:2] - gain[:2] * source[:2]) @ HED[:2]
    else:
        strength = np.append(target[6:] / np.maximum(source[6:], 1e-6), 1.0)
        weights = (np.linalg.inv(_with_rest(source[:6])) @ np.diag(strength) @ _with_rest(target[:6])).T
        shift = np.zeros(3)
    return np.column_stack([weights, shift]).astype(np.float32)


def _with_rest(vectors: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Return two stains and what neither of them is, at right angles to both, which keeps its strength."""
    first, second = vectors.reshape(2, 3)
    rest = np.cross(first, second)
    return np.stack([first, second, rest / np.linalg.norm(rest)])


def brought(kind: StainName, images: Images, maps: Maps) -> Images:
    """Return tiles whose light went through their maps, all windows of a tile alike."""
    if kind != "reinhard":
        moved = jittered(images, maps)
        return torch.where(_glass(images), images, moved) if kind == "stretch" else moved
    out = torch.empty_like(images)
    for at in range(0, len(images), PIECE):
        out[at : at + PIECE] = _opponent(images[at : at + PIECE], maps[at : at + PIECE])
    return out


@final
@dataclass(frozen=True, slots=True)
class StainMatch:
    """Brings the stains of each training spot's tile to those of all training tiles."""

    kind: StainName
    maps: Float32[Tensor, "sections 3 4"]
    section: Int[Tensor, " spots"]
    """Number of each training spot's section."""

    @classmethod
    def of(cls, kind: StainName, tiles: Tiles, target: Numbers) -> "StainMatch":
        """Measure each section of the training tiles."""
        alone: Sequence[Tiles] = tiles.alone()
        maps = np.stack([map_of(kind, source_of(kind, each), target) for each in alone])
        numbers = np.repeat(np.arange(len(alone)), [len(each) for each in alone])
        return cls(kind, torch.from_numpy(maps), torch.from_numpy(numbers))

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch with its tiles so brought, the same in every epoch."""
        maps = self.maps[self.section[batch.rows.cpu()]].to(batch.inputs.device)
        return batch._replace(inputs=brought(self.kind, batch.inputs, maps))


def _light(tiles: Tiles) -> Light:
    """Return the share of light that comes through some pixels of tissue, from 1/256 to 1."""
    found = []
    for row in tiles.evenly(TILES * len(tiles.sections)).tolist():
        pixels = tiles.read(row)[0].reshape(3, -1)
        found.append(pixels[:, :: max(pixels.shape[1] // PIXELS, 1)].T)
    grey = np.concatenate(found)
    low, high = grey.min(axis=1).astype(np.int16), grey.max(axis=1).astype(np.int16)
    clear = (low > 256 * 10**-CLEAR - 1) & (high - low < GREY)
    return (grey[~clear].astype(np.float64) + 1) / 256


def _opponent(images: Images, maps: Maps) -> Images:
    """Apply maps of the logarithms of the cones' responses."""
    colours = images.float()
    cones = torch.log10(_mixed((colours + 1) / 256, LMS))
    weights, shift = maps[:, :, :3, None, None, None], maps[:, :, 3, None, None, None]
    old = cones.unbind(2)
    new = [sum((w * o for w, o in zip(weights[:, c].unbind(1), old, strict=True)), shift[:, c]) for c in range(3)]
    light = _mixed(10 ** torch.stack(new, 2), np.linalg.inv(LMS))
    return torch.where(_glass(images), colours, (light * 256 - 1).round_().clamp_(0, 255)).to(torch.uint8)


def _glass(images: Images) -> Bool[Tensor, "batch windows 1 height width"]:
    low, high = images.amin(2, keepdim=True), images.amax(2, keepdim=True)
    return (low > 256 * 10**-CLEAR - 1) & (high - low < GREY)


def _mixed(
    light: Float32[Tensor, "batch windows 3 height width"], matrix: np.ndarray
) -> Float32[Tensor, "batch windows 3 height width"]:
    """Mix channels, number by number: a product of matrices may round otherwise in a batch of another size."""
    old = light.unbind(2)
    return torch.stack([sum(float(w) * o for w, o in zip(row, old, strict=True)) for row in matrix], 2)  # type: ignore[misc]
