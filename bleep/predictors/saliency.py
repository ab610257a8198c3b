"""What in a tile a prediction rests on: Grad-CAM and occlusion."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bleep.config import PaddingName
from bleep.data.section import Section
from bleep.data.slides import Box, Slide
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError
from bleep.features.regions import members
from bleep.models.backbones.textures import Textures
from bleep.models.image import ImageTrunk
from bleep.predictors import Ensemble, MeanOfPredictors, Predictor, plain
from bleep.retrieval.embed import check_tiles, tile_features
from bleep.runs import Run


@final
@dataclass(frozen=True, slots=True)
class ActivationMaps:
    """Grad-CAM of one tile."""

    id: str
    """`section/spot` of the tile."""
    column: str
    """The class or gene whose value is explained."""
    maps: tuple[Float32[np.ndarray, "rows columns"], ...]
    """One a window, in the order of `tiles.microns`, none below 0: how much each position raises the value, on no scale."""


def grad_cam(run: Run, tiles: Tiles, row: int, column: int) -> ActivationMaps:
    """Return where in a tile the trunk finds what raises the value of one class (its logit) or gene (scaled).

    Each position's features are weighed by the mean gradient of the value with respect to each channel, and what is below 0 is
    cut off. The last map before pooling is taken, or the one at `image.layer`; several trunks add up, and `textures`, which has
    no positions, adds nothing. What the tile's surroundings add (`image.context`) is held as it is.

    Raises:
        ConfigError: the run has no head that predicts, or its features depend on the whole section's tiles.
        MismatchError: tiles are cut otherwise than the run's.

    """
    check_maps(run)
    check_tiles(run, tiles)
    alone, at = tiles.of_row(row)
    base = torch.from_numpy(tile_features(run, alone)[at : at + 1]).to(run.device)
    pixels = torch.from_numpy(np.array(alone.read(at))).to(run.device)
    run.model.eval()
    found: list[list[np.ndarray]] = [[] for _ in range(len(pixels))]
    start = 0
    for trunk in members(run.model.trunk):
        if isinstance(trunk.model, Textures):
            # Numbers of a whole window are nowhere in it.
            start += trunk.width * len(pixels)
            continue
        for window in range(len(pixels)):
            own, place = pixels[window][None, None], slice(start, start + trunk.width)
            found[window].append(_map(run, trunk, own, base, place, column))
            start += trunk.width
    maps = tuple(_joined(each) for each in found)
    return ActivationMaps(alone.ids[at], run.panel.genes[column], maps)


def check_maps(run: Run) -> None:
    """Refuse a run that has no class activation maps, before anything long begins.

    Raises:
        ConfigError: saying why, and what there is instead.

    """
    image = run.config.image
    way_out = "bleep.predictors.saliency shows what its tiles are looked at for"
    if not run.model.regresses:
        raise ConfigError(f"Grad-CAM needs a head that predicts, and this run answers by its reference alone; {way_out}")
    if image.sharing == "tokens":
        raise ConfigError("Grad-CAM needs windows of their own, and image.sharing tokens shares them: leave the maps out")
    if image.standardize == "section" or image.stain != "none" or run.config.query.views > 1:
        raise ConfigError(
            "Grad-CAM needs features that depend on the tile alone, and this run's image.standardize section, image.stain or "
            f"query.views make them depend on more; {way_out}"
        )
    mapped = [trunk for trunk in members(run.model.trunk) if not isinstance(trunk.model, Textures)]
    if not mapped or image.per_window == "separate":
        raise ConfigError(f"Grad-CAM needs a trunk that all windows share and that reads positions of tiles; {way_out}")


@final
@dataclass(frozen=True, slots=True)
class _Positions:
    """Features of each position of a window, the leaf that gradients end at, and the pooled ones made of them."""

    leaf: Tensor
    features: Float[Tensor, "1 features"]
    as_grid: Callable[[Tensor], Float[Tensor, "1 channels rows columns"]]
    """Lays out the leaf, or its gradient."""


def _map(
    run: Run, trunk: ImageTrunk, images: Tensor, base: Float[Tensor, "1 features"], place: slice, column: int
) -> Float32[np.ndarray, "rows columns"]:
    """Return the map of one trunk and window, whose features stand at a place among all."""
    with torch.enable_grad():
        found = _positions(trunk, images)
        # Exactly what was predicted from, with the gradient of this window's own features.
        own = base[:, place] + found.features - found.features.detach()
        joined = torch.cat([base[:, : place.start], own, base[:, place.stop :]], dim=1)
        said = run.model(joined) if run.model.classifies else run.model.predict_features(joined)
        (gradient,) = torch.autograd.grad(said[0, column], found.leaf)
    positions, gradient = found.as_grid(found.leaf.detach()), found.as_grid(gradient)
    # The sum over positions, so that maps of different sizes are on one scale.
    weights = gradient.sum(dim=(2, 3), keepdim=True)
    out: np.ndarray = (weights * positions).sum(dim=1).clamp_min(0)[0].float().cpu().numpy()
    return out


def _positions(trunk: ImageTrunk, images: Tensor) -> _Positions:
    if trunk.has_grid:
        with torch.no_grad():
            grid = trunk.grid(images)
        leaf = grid.detach().requires_grad_()
        return _Positions(leaf, leaf.mean(dim=(2, 3)), _as_it_is)
    prefix, blocks = getattr(trunk.model, "num_prefix_tokens", None), getattr(trunk.model, "blocks", None)
    if prefix is not None and isinstance(blocks, nn.Sequential | nn.ModuleList):
        # Where the class token alone is read, patch tokens get a gradient up to the attention of the last block.
        leaf, features = _with_leaf(trunk, blocks[-1].get_submodule("norm1"), images)
        return _Positions(leaf, features, partial(_tokens_as_grid, prefix=prefix))
    leaf, features = _with_leaf(trunk, _last_map(trunk, images), images)
    return _Positions(leaf, features, _as_it_is)


def _as_it_is(grid: Tensor) -> Tensor:
    return grid


def _tokens_as_grid(tokens: Float[Tensor, "1 tokens channels"], prefix: int) -> Float[Tensor, "1 channels side side"]:
    patches = tokens[:, prefix:]
    side = round(patches.shape[1] ** 0.5)
    return patches.transpose(1, 2).reshape(1, -1, side, side)


def _last_map(trunk: ImageTrunk, images: Tensor) -> nn.Module:
    """Return the last part of a network whose output is a map of several positions.

    Raises:
        ConfigError: there is none.

    """
    seen: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            seen.append(module)

    hooks = [module.register_forward_hook(note) for module in trunk.model.modules()]
    try:
        with torch.no_grad():
            trunk(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ConfigError("Grad-CAM needs a trunk with a map of positions; this one has none: leave the maps out")
    return seen[-1]


def _with_leaf(trunk: ImageTrunk, module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return a part's output as a leaf of the graph, and what the whole trunk makes of it."""
    held: list[Tensor] = []

    def replace(_: nn.Module, __: object, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[-1].clone()  # What comes next may write into it.

    hook = module.register_forward_hook(replace)
    try:
        features = trunk(images)
    finally:
        hook.remove()
    return held[-1], features


def _joined(maps: Sequence[Float32[np.ndarray, "rows columns"]]) -> Float32[np.ndarray, "rows columns"]:
    """Add up the maps of several trunks, at the size of the finest."""
    rows, columns = max(one.shape for one in maps)
    large = [interpolate(torch.from_numpy(one)[None, None], (rows, columns), mode="bilinear")[0, 0].numpy() for one in maps]
    out: np.ndarray = np.sum(large, axis=0)
    return out


GRID = 7
"""Squares along a side; an odd number puts one in the middle, on the spot."""

Square = tuple[int, int, int, int]
"""Left, top, right and bottom in level-0 pixels."""


@final
@dataclass(frozen=True, slots=True)
class Occlusion:
    """What hiding each square of a tile changes."""

    id: str
    """`section/spot` of the tile."""
    genes: tuple[str, ...]
    whole: Float32[np.ndarray, " genes"]
    """What is predicted of the tile as it is."""
    change: Float32[np.ndarray, "grid grid genes"]
    """By row and column of the square, what it adds: the prediction with it less the prediction with it hidden."""
    microns: float
    """Side of the squares together: the tile's widest window."""
    scale: str
    """What the values are, in words."""
    predictor: str
    """What predicted."""


def occlusion(predictor: Predictor, tiles: Tiles, row: int, grid: int = GRID) -> Occlusion:
    """Hide squares of one tile by the mean colour of its widest window, in every window that shows them, and predict each.

    The rest of the section is as it was: features that are standardised by section, or stains that are brought to the
    training tiles', go by the whole section. The versions' features go into the run's cache as those of any tiles do.

    Raises:
        ConfigError: the grid has no square, or squares of less than a pixel; or the predictor's windows share regions.

    """
    if shares_regions(predictor):
        raise ConfigError(
            "occlusion needs windows of their own, and under image.sharing tokens a square that is hidden is seen by "
            "neighbouring tiles too: train with image.sharing none to explain tiles"
        )
    alone, at = tiles.of_row(row)
    (section,) = alone.sections
    widest = max(alone.spec.microns)
    side = max(round(widest / section.mpp), 1)
    if not 1 <= grid <= side:
        raise ConfigError(f"a grid of {grid} squares a side was asked for; expected 1 to {side}, the pixels of the tile")
    window = alone.read(at)[alone.spec.microns.index(widest)]
    red, green, blue = window.mean(axis=(1, 2)).round().astype(int).tolist()
    nothing = (0, 0, 0, 0)
    hidden = _Hidden(section.slide, (nothing, *_squares(section.xy[at], side, grid)), (red, green, blue))
    places = np.tile(section.xy[at], (len(hidden.squares), 1))
    made = _section(section, hidden, at)
    versions = replace(alone, sections=(made,), whole=alone.whole or (section,), xy_in_whole=(places,))
    prediction = predictor.predict(versions)
    whole, others = prediction.expression[0], prediction.expression[1:]
    change = (whole - others).reshape(grid, grid, len(whole))
    return Occlusion(alone.ids[at], prediction.genes, whole, change, widest, prediction.scale, prediction.predictor)


def shares_regions(predictor: Predictor) -> bool:
    """Return whether a tile's features, for a predictor or any of its members, are read from regions that tiles share."""
    one = plain(predictor)
    if isinstance(one, MeanOfPredictors | Ensemble):
        return any(map(shares_regions, one.members))
    run = getattr(one, "run", None)
    return isinstance(run, Run) and bool(run.model.trunk.shares)


def _squares(centre: Float64[np.ndarray, " 2"], side: int, grid: int) -> list[Square]:
    """Return the squares row by row, whole pixels wide, none over another."""
    edges = np.round(np.linspace(0, side, grid + 1)).astype(int)
    left, top = (round(middle - side / 2) for middle in centre.tolist())
    columns = list(zip((left + edges[:-1]).tolist(), (left + edges[1:]).tolist(), strict=True))
    rows = list(zip((top + edges[:-1]).tolist(), (top + edges[1:]).tolist(), strict=True))
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


@final
@dataclass(frozen=True, slots=True)
class _Hidden:
    """A slide several times side by side, in each a square painted over."""

    slide: Slide
    squares: tuple[Square, ...]
    colour: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.stride * len(self.squares), self.slide.size[1]

    @property
    def stride(self) -> int:
        """From a version to the next, with a seam on either side; an even number, so that halves of pixels round alike."""
        return 2 * (self.slide.size[0] // 2) + 6

    def start(self, version: int) -> int:
        """Return where a version begins."""
        return version * self.stride + 2

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        version = min(max(int((left + side / 2) // self.stride), 0), len(self.squares) - 1)
        left -= self.start(version)
        box = self.slide.region(left, top, side, padding, pixels).copy()
        scale = len(box) / side
        x0, y0, x1, y1 = self.squares[version]
        across, down = (
            slice(*(min(max(round((edge - first) * scale), 0), len(box)) for edge in edges))
            for edges, first in (((x0, x1), left), ((y0, y1), top))
        )
        box[down, across] = self.colour
        return box

    def digest(self) -> str:
        parts = [self.slide.digest(), self.squares, self.colour]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _section(section: Section, hidden: _Hidden, row: int) -> Section:
    """Return one spot of a section once a version, nothing measured there."""
    from anndata import AnnData

    names = [f"{section.counts.obs_names[row]}.{version}" for version in range(len(hidden.squares))]
    counts = AnnData(np.zeros((len(names), 0), np.float32), obs=pd.DataFrame(index=names))
    x, y = section.xy[row]
    xy = np.array([(x + hidden.start(version), y) for version in range(len(names))], np.float64)
    return Section(section.name, section.patient, section.species, hidden, counts, xy, section.mpp)
