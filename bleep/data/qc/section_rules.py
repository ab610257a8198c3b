"""What is wrong with one section by itself, by rules that each know a few faults; thresholds stand at the top."""

import math
from collections.abc import Callable, Iterator, Mapping

from bleep.config import Config
from bleep.data.gene_names import ANIMALS
from bleep.data.qc.measures import SHARP, Measures
from bleep.data.qc.report import Finding, error, warning

FEW_SPOTS = 30
DROPPED = 0.1
"""Share of the positions that have no counts."""
PLAUSIBLE = (0.05, 30.0)
"""Microns per pixel of anything that shows cells or spots; Space Ranger's smallest pictures of large arrays have 23."""
PITCHES: Mapping[str, tuple[float, ...]] = {
    "visium": (100.0, 16.0, 8.0, 2.0),
    "liver": (100.0,),
    "her2st": (200.0,),
    "st2k": (100.0 * math.sqrt(2),),
}
"""Microns between neighbouring spots of the arrays, or between the bins of Visium HD; the nearest is meant."""
OFF, FAR_OFF = 1.15, 1.5
"""Ratios of two scales: worth a word, and wrong."""
ENLARGED = 4.0
"""Times a window is enlarged to fill the trunk's picture."""
PADDED = 0.25
"""Mean share of a window beyond the slide."""
BLANK, MOSTLY_BLANK = 0.1, 0.5
BLURRED = 0.2
ZERO_SPOTS, MOSTLY_ZERO = 0.01, 0.5


def alone(of: Measures, config: Config) -> Iterator[Finding]:
    """Yield what is wrong with one section by itself."""
    for rule in RULES:
        yield from rule(of, config)


def _spots(of: Measures, config: Config) -> Iterator[Finding]:
    if of.spots < FEW_SPOTS:
        yield warning(
            "few-spots",
            [of.section],
            f"{of.spots} spots are few, so that scores over them scatter; read more sections, or drop this one",
        )
    lost = of.dropped[1] if of.dropped is not None else 0
    if lost > DROPPED * (lost + of.spots):
        yield warning(
            "dropped-spots",
            [of.section],
            f"{lost} of {lost + of.spots} spots with a position have no counts; see that counts and positions are of the same "
            "section and were filtered alike",
        )


def _scale(of: Measures, config: Config) -> Iterator[Finding]:
    low, high = PLAUSIBLE
    if not low <= of.mpp <= high:
        yield error(
            "scale",
            [of.section],
            f"{of.mpp:.4g} microns per pixel are implausible (expected {low:g} to {high:g}), so that a tile shows another "
            "piece of tissue than thought; set data.mpp",
        )
        return
    known = PITCHES.get(config.data.source, ())
    # Nearest spots may be far apart because a table lists only some; nearer than the array's they cannot be.
    pitch = of.array if of.array is not None else of.pitch
    if known and pitch is not None and (of.array is not None or pitch < min(known) / OFF):
        usual = min(known, key=lambda one: _ratio(pitch, one))
        if (times := _ratio(pitch, usual)) > OFF:
            yield (error if times > FAR_OFF else warning)(
                "scale",
                [of.section],
                f"at {of.mpp:.3g} microns per pixel the spots lie {pitch:.0f} um apart, but on this array it is {usual:.0f} "
                f"um; set data.mpp to about {of.mpp * usual / pitch:.3g}, or name the picture the positions belong to",
            )
    if of.slide_mpp is not None and _ratio(of.mpp, of.slide_mpp) > OFF:
        yield warning(
            "scale",
            [of.section],
            f"{of.mpp:.3g} microns per pixel are used, but the slide's file says {of.slide_mpp:.3g}; one of the two is wrong, "
            "and data.mpp decides",
        )


def _tiles(of: Measures, config: Config) -> Iterator[Finding]:
    pixels = config.tiles.pixels
    for microns, side in zip(config.tiles.microns, of.windows, strict=True):
        if side > of.slide:
            yield error(
                "tile-too-large",
                [of.section],
                f"a window of {microns:g} um is {side} pixels wide, but the slide has only {of.slide}; lower tiles.microns, or "
                "set data.mpp if the scale is wrong",
            )
        elif pixels >= ENLARGED * side:
            yield warning(
                "enlarged-tiles",
                [of.section],
                f"a window of {microns:g} um is only {side} pixels wide and is enlarged {pixels / side:.1f} times to {pixels}, "
                "so that nuclei are hardly seen; take a finer picture, or raise tiles.microns",
            )
    if of.padded > PADDED and max(of.windows) <= of.slide:
        yield warning(
            "padded-tiles",
            [of.section],
            f"on average {of.padded:.0%} of the widest window lies beyond the slide; lower tiles.microns, or take a picture "
            "with more margin",
        )


def _picture(of: Measures, config: Config) -> Iterator[Finding]:
    seen = of.picture
    if seen is None:
        return
    if seen.better:
        yield error(
            "misplaced-spots",
            [of.section],
            f"{seen.blank:.0%} of {seen.tiles} tiles show bare glass, but {seen.better_blank:.0%} would with {seen.better}; "
            "mend the positions, or name the picture they belong to",
        )
    elif seen.blank > BLANK:
        yield (error if seen.blank > MOSTLY_BLANK else warning)(
            "blank-tiles",
            [of.section],
            f"{seen.blank:.0%} of {seen.tiles} tiles show bare glass; see whether the positions belong to this picture, and "
            "leave out spots beside the tissue",
        )
    if seen.blurred > BLURRED:
        yield warning(
            "blurred-tiles",
            [of.section],
            f"{seen.blurred:.0%} of the tiles are out of focus (median sharpness {seen.sharpness:.0f}; below {SHARP:g} is "
            "blurred); scan again, or take another picture",
        )


def _values(of: Measures, config: Config) -> Iterator[Finding]:
    found, normalise = of.counts, config.panel.normalise
    if config.loss.task == "classify":
        return
    if found.values == "nothing":
        yield warning("nothing-measured", [of.section], "has no genes, so that it can be queried, but not trained on or scored")
        return
    if found.zero_spots > ZERO_SPOTS * of.spots:
        yield (error if found.zero_spots > MOSTLY_ZERO * of.spots else warning)(
            "zero-spots",
            [of.section],
            f"{found.zero_spots} of {of.spots} spots have no counts at all; "
            "leave them out by data.min_counts, or see whether the file is whole",
        )
    if normalise == "log1p" and found.values == "logarithms":
        yield error(
            "normalised-twice",
            [of.section],
            "the values are fractions as small as logarithms, but panel.normalise is log1p, which would take the logarithm "
            "twice; read counts, or set panel.normalise to none",
        )
    elif normalise == "log1p" and found.values != "counts":
        yield warning(
            "not-counts",
            [of.section],
            "the values are not whole numbers, though panel.normalise is log1p, which expects counts; read counts if you have "
            "them",
        )
    elif normalise == "none" and found.values == "counts":
        yield warning(
            "not-normalised",
            [of.section],
            f"the values are whole numbers (median sum {found.median:,.0f}) and panel.normalise is none, so that a gene "
            "follows how much of a spot was sequenced; set panel.normalise to log1p if they are counts",
        )


def _names(of: Measures, config: Config) -> Iterator[Finding]:
    names = of.counts.names
    if names.looks == "mixed":
        yield warning(
            "species",
            [of.section],
            f"the genes look like those of several species ({names.describe()} among them); keep the genes of one",
        )
    elif not names.fit(of.species):
        # Some tools write symbols of the mouse in capitals; none does the reverse.
        surely = names.ids or names.looks != "human"
        yield (error if surely else warning)(
            "species",
            [of.section],
            f"data.species is {of.species}, but the genes look like those of {ANIMALS[names.looks]} ({names.describe()}); set "
            "data.species to what the tissue is of",
        )


RULES: tuple[Callable[[Measures, Config], Iterator[Finding]], ...] = (_spots, _scale, _tiles, _picture, _values, _names)


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)
