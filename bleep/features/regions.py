"""Features of overlapping windows from regions that all of them share: each part of a slide passes the trunk once.

A slide, at the scale of one window, is laid out in square cores anchored at its top left corner. Each core passes the trunk
with a margin of tissue around it, and the trunk gives a grid of tokens (or a feature map). The feature of a window is the mean
of the tokens inside it, weighted by the area of each that the window covers.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.utils.data import Dataset

from bleep.data.loading import loaded, read
from bleep.data.section import Section
from bleep.data.slides import resize
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError, DataError
from bleep.models.fingerprint import device_of
from bleep.models.image import FusedTrunk, ImageTrunk
from bleep.models.stored import StoredTrunk, Trunk

Regions = UInt8[Tensor, "batch 1 3 side side"]
Prepare = Callable[[Regions], Regions]
Core = tuple[int, int, Int64[np.ndarray, " _"]]
"""Column and row of a core, and the tiles whose windows reach it."""


def of_windows(
    trunk: Trunk, tiles: Tiles, batch: int, prepare: Prepare, workers: int | None = None
) -> Float32[np.ndarray, "tiles features"]:
    """Return the features of one section's tiles, trunk by trunk and in each window by window.

    A tile's features do not depend on which others are asked for. Only regions that some window reaches are computed. Memory
    holds the features of these tiles and one batch of regions, and a few more where `workers`, processes beside this one,
    read ahead: see `bleep.data.loading.readers`. `prepare` changes the pixels of regions before the trunk.

    Raises:
        DataError: the section is of ready-cut tiles, which have no tissue between them.
        ConfigError: the trunk gives no even grid for regions of this size.

    """
    (section,) = tiles.sections
    if not section.has_positions:
        raise DataError(
            f"section {section.name}: is of ready-cut tiles, which share no picture: set image.sharing to none and train again"
        )
    spec, parts = tiles.spec, []
    with torch.inference_mode():
        for member in members(trunk):
            reader = _resized(member, member.region * spec.pixels)
            layout = Layout.of(reader, spec.pixels)
            regions = _Regions([_Window(section, spec, microns, layout) for microns in spec.microns])
            parts.append(_passed(reader, regions, batch, prepare, workers))
    return np.concatenate(parts, axis=1)


def members(trunk: Trunk) -> list[ImageTrunk]:
    """Return the trunks whose features are joined, in order."""
    trunk = trunk.opened() if isinstance(trunk, StoredTrunk) else trunk
    found = (
        [member for row in trunk.members for member in cast(nn.ModuleList, row)] if isinstance(trunk, FusedTrunk) else [trunk]
    )
    return [member for member in found if isinstance(member, ImageTrunk)]


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How regions lie, in pixels of the picture at the window's scale."""

    side: int
    """Side of a region."""
    margin: int
    """What is left away of it on each side."""
    step: int
    """Side of a token."""

    @property
    def core(self) -> int:
        """Side of what is kept of a region."""
        return self.side - 2 * self.margin

    @classmethod
    def of(cls, trunk: ImageTrunk, pixels: int) -> "Layout":
        """Return the layout for windows of so many pixels, from the grid that the trunk gives of a region.

        Raises:
            ConfigError: the grid is not even, or so coarse that no core is left.

        """
        side, device = trunk.region * pixels, device_of(trunk)
        height, width = trunk.grid(torch.zeros(1, 1, 3, side, side, dtype=torch.uint8, device=device)).shape[-2:]
        step = side // max(width, 1)
        margin = ceil(side * trunk.halo / step) * step if step else side
        if height != width or step * width != side or 2 * margin >= side:
            raise ConfigError(
                f"image.sharing tokens: the trunk gives {height} x {width} positions for regions of {side} pixels, which is no "
                "even grid; choose tiles.pixels that the trunk divides evenly, another image.layer, or image.sharing none"
            )
        return cls(side, margin, step)


@final
@dataclass(frozen=True, slots=True)
class _Window:
    """One window of the tiles of a section."""

    section: Section
    spec: TileSpec
    microns: float
    layout: Layout

    @property
    def scale(self) -> float:
        """Level-0 pixels to a pixel of the window."""
        return self.microns / self.section.mpp / self.spec.pixels

    @property
    def corners(self) -> Float64[np.ndarray, "tiles 2"]:
        """Upper left corner of each tile's window, in its pixels."""
        return self.section.xy / self.scale - self.spec.pixels / 2

    def asked(self, corners: Float64[np.ndarray, "tiles 2"]) -> list[Core]:
        """Return the column and row of each core that windows reach, with these, in order."""
        core = self.layout.core
        first = np.floor(corners / core).astype(np.int64)
        last = np.ceil((corners + self.spec.pixels) / core).astype(np.int64)
        reached: list[np.ndarray] = []
        for x in range(int((last - first)[:, 0].max())):
            for y in range(int((last - first)[:, 1].max())):
                place = first + np.array([x, y])
                tiles = np.flatnonzero((place < last).all(axis=1))
                reached.append(np.column_stack([place[tiles, 1], place[tiles, 0], tiles]))
        found = np.concatenate(reached)
        found = found[np.lexsort(found.T[::-1])]
        borders = np.flatnonzero((np.diff(found[:, :2], axis=0) != 0).any(axis=1)) + 1
        return [(int(part[0, 1]), int(part[0, 0]), part[:, 2]) for part in np.split(found, borders)]

    def pixels(self, column: int, row: int) -> UInt8[np.ndarray, "3 side side"]:
        """Return a region; one wholly beyond the picture, which some padding of a window may reach, is white."""
        layout, (width, height) = self.layout, self.section.slide.size
        left, top = (round((place * layout.core - layout.margin) * self.scale) for place in (column, row))
        side = max(round(layout.side * self.scale), 1)
        if left >= width or top >= height or left + side <= 0 or top + side <= 0:
            return np.full((3, layout.side, layout.side), 255, np.uint8)
        box = self.section.slide.region(left, top, side, self.spec.padding, layout.side)
        return np.ascontiguousarray(resize(box, layout.side).transpose(2, 0, 1))

    def shares(
        self, corners: Float64[np.ndarray, "reached 2"], place: Int64[np.ndarray, "2"]
    ) -> Float32[np.ndarray, "2 reached tokens"]:
        """Return the share of each window that each column, and each row, of one core's tokens covers."""
        layout, pixels = self.layout, self.spec.pixels
        starts = place[:, None] * layout.core + np.arange(layout.core // layout.step) * layout.step
        low = np.maximum(starts[None], corners[:, :, None])
        high = np.minimum(starts[None] + layout.step, corners[:, :, None] + pixels)
        return (np.maximum(high - low, 0.0) / pixels).astype(np.float32).transpose(1, 0, 2)


class _Step(NamedTuple):
    """Some regions, and what each adds to the windows that reach it."""

    window: int
    """Number of the window they are of."""
    shown: Regions
    reached: list[int]
    """Windows that reach each region; they stand one region after another in what follows."""
    tiles: Int64[Tensor, " windows"]
    across: Float32[Tensor, "windows columns"]
    down: Float32[Tensor, "windows rows"]


@final
class _Regions(Dataset[_Step]):
    """The regions of each window that tiles reach, a whole step at a time: `regions[(window, rows)]`."""

    def __init__(self, windows: list[_Window]) -> None:
        self.windows, self._corners = windows, [window.corners for window in windows]
        self._asked = [window.asked(corners) for window, corners in zip(windows, self._corners, strict=True)]

    def steps(self, regions: int) -> list[tuple[int, range]]:
        """Return the steps, of at most so many regions, none of two windows."""
        counts = enumerate(map(len, self._asked))
        return [(at, range(count)[start : start + regions]) for at, count in counts for start in range(0, count, regions)]

    def __getitem__(self, key: tuple[int, range]) -> _Step:
        at, rows = key
        window, here = self.windows[at], [self._asked[at][row] for row in rows]
        shown = np.stack([window.pixels(column, row) for column, row, _ in here])[:, None]
        tiles = np.concatenate([reached for _, _, reached in here])
        shares = [window.shares(self._corners[at][reached], np.array([column, row])) for column, row, reached in here]
        across, down = torch.from_numpy(np.concatenate(shares, axis=1))
        reached = [len(found) for _, _, found in here]
        return _Step(at, torch.from_numpy(shown), reached, torch.from_numpy(tiles), across, down)


def _passed(
    trunk: ImageTrunk, regions: _Regions, batch: int, prepare: Prepare, workers: int | None
) -> Float32[np.ndarray, "tiles features"]:
    """Return the mean token of each window, window by window."""
    device, few = device_of(trunk), max(batch // trunk.region**2, 1)
    (section, layout), windows = (regions.windows[0].section, regions.windows[0].layout), len(regions.windows)
    step_bytes = few * 3 * layout.side**2
    batches = loaded(regions, regions.steps(few), device, workers=workers, step_bytes=step_bytes, slides=(section.slide,))
    out = torch.zeros((windows, len(section), trunk.width), device=device)
    edge, count = layout.margin // layout.step, layout.core // layout.step
    for at, shown, reached, *held in read(batches):
        tiles, across, down = (one.to(device, non_blocking=True) for one in held)
        grids = trunk.grid(prepare(shown.to(device, non_blocking=True))).float()
        cores = grids[:, :, edge : edge + count, edge : edge + count].permute(0, 2, 3, 1).flatten(2)
        start = 0
        for core, number in zip(cores, reached, strict=True):
            here = slice(start, start := start + number)
            rows = (down[here] @ core).unflatten(1, (count, -1))
            out[at].index_add_(0, tiles[here], (across[here, None] @ rows)[:, 0])
    table: np.ndarray = out.transpose(0, 1).flatten(1).cpu().numpy()
    return table


def _resized(trunk: ImageTrunk, side: int) -> ImageTrunk:
    """Return a trunk that takes regions of this size: of timm's ViT, DeiT, BEiT and EVA a copy whose places are all alike.

    A token that knows where in its region it lies says so in its features: those of one window, read where borders fell
    otherwise, then correlated by .75 to .81; with one position for all by .92, and a ridge on them scored as on windows of
    their own (docs/log.md). Positions that say how far two tokens are from each other stay.
    """
    model: Any = trunk.model
    resize_input = getattr(model, "set_input_size", None)
    if resize_input is None:
        return trunk
    copy = deepcopy(trunk)
    changed: Any = copy.model
    changed.set_input_size(img_size=(side, side))
    learnt = copy.learnt_places
    if learnt is not None:
        # The class token's and registers' positions, which stand first in most transformers, are of no place.
        first = 0 if getattr(changed, "no_embed_class", False) else getattr(changed, "num_prefix_tokens", 0)
        learnt.data[:, first:] = learnt.data[:, first:].mean(dim=1, keepdim=True)
    if copy.dtype != torch.float32:
        # Autocast would round them to the same numbers at each call.
        for layer in changed.modules():
            if isinstance(layer, nn.Linear):
                layer.to(copy.dtype)
    return copy


def strips(tiles: Tiles, rows: Int64[np.ndarray, " rows"], size: int) -> Iterator[Int64[np.ndarray, " strip"]]:
    """Yield rows of one section's tiles from top to bottom, so many at a time: few regions are shared by two strips."""
    (section,) = tiles.sections
    order = rows[np.argsort(section.xy[rows, 1], kind="stable")]
    for start in range(0, len(order), size):
        yield np.sort(order[start : start + size])
