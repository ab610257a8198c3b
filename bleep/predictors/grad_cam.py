"""What parts of a tile speak for a class or a gene, by gradients: one pass of the trunk a tile, where occlusion needs fifty.

Gradient-weighted class activation maps are Selvaraju et al.'s (ICCV 2017). They show what the model reacts to, and not what
causes a label or an expression.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bleep.data.tiles import Tiles
from bleep.errors import ConfigError
from bleep.features.regions import members
from bleep.models.image import ImageTrunk
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
    cut off. The last map before pooling is taken, or the one at `image.layer`; several trunks add up. What the tile's
    surroundings add (`image.context`) is held as it is.

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
    way_out = "bleep.predictors.occlusion shows what its tiles are looked at for"
    if not run.model.regresses:
        raise ConfigError(f"Grad-CAM needs a head that predicts, and this run answers by its reference alone; {way_out}")
    if image.sharing == "tokens":
        raise ConfigError("Grad-CAM needs windows of their own, and image.sharing tokens shares them: leave the maps out")
    if image.standardize == "section" or image.stain != "none" or run.config.query.views > 1:
        raise ConfigError(
            "Grad-CAM needs features that depend on the tile alone, and this run's image.standardize section, image.stain or "
            f"query.views make them depend on more; {way_out}"
        )
    if not members(run.model.trunk) or image.per_window == "separate":
        raise ConfigError(f"Grad-CAM needs a trunk that all windows share and that reads tiles; {way_out}")


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
