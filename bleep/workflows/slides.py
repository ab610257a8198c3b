"""Whole slides to predict: opened, checked against the run, and given back with what drawing them needs."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bleep.config import DataConfig
from bleep.data.prediction import Prediction
from bleep.data.readers import by_region, read_sections
from bleep.data.readers.wsi import check_mask, save_mask
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide, PatchSlide, overview, slide_files
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.files import check_writable
from bleep.outputs import check_output
from bleep.runs import Run

BACKDROP = 1000
"""Pixels of the longer side of the picture that goes with a prediction."""
SPOT = 0.55
"""Diameter of a spot as a share of the distance to the next: 55 of 100 microns in Visium."""
LOOSE = (MosaicSlide, PatchSlide)
"""Slides laid out from single tiles, which are no picture of tissue."""
CUT = ("folder", "patches")
"""Forms of ready-cut tiles, whose scale is known where `data.mpp` says it."""
VERSIONS = {"bleep": "bleep-st", "anndata": "anndata", "timm": "timm", "torch": "torch"}
"""Packages whose versions go with a prediction."""

log = logging.getLogger(__name__)


def check_scale(run: Run) -> None:
    """Refuse a run of which nobody knows how much tissue its tiles show.

    Raises:
        MismatchError: see above.

    """
    if run.config.data.source in CUT and run.config.data.mpp is None:
        raise MismatchError(
            "the run was trained on ready-cut tiles without data.mpp, a pixel counting as one micron, so no slide can be cut "
            "to match; train with --data.mpp"
        )


def open_slides(
    paths: Sequence[str | Path],
    run: Run,
    mpp: float | None = None,
    step: float | None = None,
    mask: str | Path | None = None,
    pixel_limit: int | None = None,
    broken: dict[str, str] | None = None,
) -> Tiles:
    """Open slide files, or folders of them, as a grid of tiles over their tissue, cut as the run's own.

    Microns per pixel come from `mpp`, else from each file; tissue from `mask`, else it is detected. `step` is in microns;
    it and `pixel_limit` default to the run's settings. Where several slides are given, those that cannot be read are noted in
    `broken`, by path with the reason, and left out; without it the first of them ends everything.

    Raises:
        DataError: there is no slide, one is damaged, does not say its scale or shows no tissue, or two have one name.
        MismatchError: the run was trained on tiles of unknown scale.

    """
    check_scale(run)
    data = run.config.data
    if mask is not None:
        check_mask(Path(mask), sum(len(slide_files(Path(path))) if Path(path).is_dir() else 1 for path in paths))
    sections: list[Section] = []
    for path in paths:
        changes = {
            "source": "wsi",
            "root": Path(path),
            "sections": (),
            "min_counts": 0.0,
            "drop": (),
            "annotations": None,
            "mpp": mpp,
            "step": data.step if step is None else step,
            "mask": None if mask is None else Path(mask),
            "pixel_limit": data.pixel_limit if pixel_limit is None else pixel_limit,
        }
        sections += _readable(data.model_copy(update=changes), broken if len(paths) > 1 or Path(path).is_dir() else None)
    if not sections and broken:
        raise DataError(next(iter(broken.values())))
    sections = list(by_region(tuple(sections), run.config.cache))
    names = [section.name for section in sections]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"--slides: two of the slides are called {twice!r}; each name must stand once")
    for section in sections:
        _warn_of_enlarging(section, run)
    return run.tiles(tuple(sections))


def _readable(data: DataConfig, broken: dict[str, str] | None) -> tuple[Section, ...]:
    """Return the slides of a place; with `broken`, those that can be read."""
    if broken is None:
        return read_sections(data, purpose="query")
    found: list[Section] = []
    for path in slide_files(data.root).values():
        try:
            found += read_sections(data.model_copy(update={"root": path}), purpose="query")
        except DataError as error:
            log.warning("%s: left out (%s)", path, error)
            broken[str(path)] = str(error)
    return tuple(found)


def mask_places(
    tiles: Tiles, path: Path, inputs: Iterable[Path] = (), *, overwrite: bool = False, left_out: int = 0
) -> tuple[Path, ...]:
    """Return where the mask of each slide goes: one file for one slide, a folder for several, `left_out` among them.

    Raises:
        ConfigError: the name does not fit.
        DataError: the place cannot be written to, or what is there is an input or not bleep's.

    """
    one = len(tiles.sections) + left_out == 1
    if one != (path.suffix.lower() == ".png"):
        expected = "a name ending in .png, for the mask of one slide" if one else "a folder, for the masks of several slides"
        raise ConfigError(f"--save-mask {path}: expected {expected}")
    places = tuple(path if one else path / f"{section.name}.png" for section in tiles.sections)
    for place in places:
        check_output(place, inputs, overwrite=overwrite)
        check_writable(place)
    return places


def save_masks(tiles: Tiles, path: Path, left_out: int = 0) -> tuple[Path, ...]:
    """Write the mask of a slide, or of several into a folder, and return the files; what is there is replaced.

    So many slides were `left_out`, as they could not be read.

    Raises:
        ConfigError: the name does not fit.
        DataError: the place cannot be written to.

    """
    written = mask_places(tiles, path, overwrite=True, left_out=left_out)
    for section, place in zip(tiles.sections, written, strict=True):
        save_mask(section.counts.uns["mask"], place)
    return written


def described(prediction: Prediction, tiles: Tiles, run: Run) -> Prediction:
    """Add to a prediction what made it, how its tiles were cut, and pictures to draw on."""
    return noted(prediction, facts_of(tiles, run), tiles.sections)


def facts_of(tiles: Tiles, run: Run) -> dict[str, Any]:
    """Return how tiles were cut, and by what they are predicted; of an ensemble, by its first run."""
    made_by = {
        "name": run.config.out.absolute().name,
        "weights": run.weights_digest(),
        "trunk": run.facts.trunk,
        "trained_with": run.facts.version,
    }
    versions = {name: version(project) for name, project in VERSIONS.items()}
    return tiles.facts() | {"run": made_by, "panel": run.panel.digest(), "versions": versions}


def noted(prediction: Prediction, facts: Mapping[str, Any], sections: Sequence[Section]) -> Prediction:
    """Add facts to a prediction, and a picture of each section whose tiles lie somewhere on a slide."""
    pictures = {section.name: _picture(section) for section in sections if not isinstance(section.slide, LOOSE)}
    uns = {"bleep": {**prediction.facts, **facts}} | ({"spatial": pictures} if pictures else {})
    return prediction.replaced(uns=uns)


def _picture(section: Section) -> dict[str, Any]:
    """Return a slide made small, as scanpy and squidpy expect it."""
    picture = overview(section.slide, BACKDROP)
    # By the longer side, which has no fraction of a pixel: rounding the shorter one would move all places along the longer.
    scale = max(picture.shape[:2]) / max(section.slide.size)
    return {
        "images": {"hires": picture},
        "scalefactors": {"tissue_hires_scalef": scale, "spot_diameter_fullres": _diameter(section)},
    }


def _diameter(section: Section) -> float:
    """Return how wide a tile is drawn, in level-0 pixels: the step of a grid, of spots a share of their distance."""
    if "step" in section.counts.uns:
        return float(section.counts.uns["step"] / section.mpp)
    return SPOT * pitch if (pitch := section.pitch()) < math.inf else min(section.slide.size) / 20


def _warn_of_enlarging(section: Section, run: Run) -> None:
    """Say that a slide is coarser than both the tiles and the slides that the run was trained on."""
    finest = min(run.spec.microns) / run.spec.pixels
    seen = max([finest, *(facts.mpp for facts in run.facts.train)])
    if section.mpp > 1.05 * seen:
        log.warning(
            "slide %s: its pixels are %.3g microns, coarser than the %.3g the run was trained at: its tiles are enlarged, "
            "and the prediction may suffer",
            section.name, section.mpp, seen,
        )  # fmt: skip
