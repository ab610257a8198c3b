"""Look at tissue before anything is trained: measures of each section, and what is wrong with it or does not fit."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from bleep.config import Config
from bleep.data.array_scale import OFF, ratio
from bleep.data.gene_names import ANIMALS
from bleep.data.labels import LABEL, classes_of, labels_of
from bleep.data.qc.cohort_rules import across
from bleep.data.qc.measures import SHARP, Measures, measure
from bleep.data.qc.report import Check, Finding, as_text, error, warning
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide, PatchSlide, pixels_of
from bleep.data.slides.base import file_digest
from bleep.errors import DataError

__all__ = ["Check", "Finding", "Measures", "across", "alone", "as_text", "labelling", "measure"]


FEW_SPOTS = 30
DROPPED = 0.1
"""Share of the positions that have no counts."""
PLAUSIBLE = (0.05, 30.0)
"""Microns per pixel of anything that shows cells or spots; Space Ranger's smallest pictures of large arrays have 23."""
PITCHES: Mapping[str, float] = {"visium": 100.0, "liver": 100.0, "her2st": 200.0, "st2k": 100.0 * math.sqrt(2)}
"""Microns between neighbouring spots of the arrays, where the reader does not note them itself."""
FAR_OFF = 1.5
"""Ratio of two scales: wrong; beyond OFF it is worth a word."""
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
    usual = of.usual if of.usual is not None else PITCHES.get(config.data.source, 0.0)
    # Nearest spots may be far apart because a table lists only some; nearer than the array's they cannot be.
    pitch = of.array if of.array is not None else of.pitch
    if usual and pitch is not None and ratio(pitch, usual) > OFF and (of.array is not None or pitch < usual):
        yield (error if ratio(pitch, usual) > FAR_OFF else warning)(
            "scale",
            [of.section],
            f"at {of.mpp:.3g} microns per pixel the spots lie {pitch:.3g} um apart, but on this array it is {usual:.0f} um; "
            f"set data.mpp to about {of.mpp * usual / pitch:.3g}, or name the picture the positions belong to",
        )
    if of.slide_mpp is not None and ratio(of.mpp, of.slide_mpp) > OFF:
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
    if found.most:
        yield warning(
            "one-gene",
            [of.section],
            f"{found.most} alone holds more than half of the sum of all genes in most spots, as places and sizes do; take that "
            "column out of the file if it is no gene",
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


RARE = 0.1
"""Share of the labelled spots below which a class is rare."""
COMMON = 0.05
"""Share of a patient's patches that may stand elsewhere too before it spoils a result."""


def labelling(sections: Sequence[Section], config: Config) -> Iterator[Finding]:
    """Yield what is wrong with the labels that a configuration names, over all sections."""
    if (config.loss.task == "classify" or config.data.label) and sections:
        yield from _labels(sections, config.data.label or LABEL, classified=config.loss.task == "classify")
    yield from _copies(sections, config)


def _labels(sections: Sequence[Section], column: str, *, classified: bool) -> Iterator[Finding]:
    names, labels = [section.name for section in sections], {}
    for section in sections:
        try:
            labels[section.name] = labels_of(section, column)
        except DataError as reason:
            if classified:
                yield error("no-labels", [section.name], str(reason))
            labels[section.name] = [""] * len(section)
    counts = Counter(label for found in labels.values() for label in found)
    spots, lacking = counts.total(), counts.pop("", 0)
    if lacking == spots:
        yield error("no-labels", names, f"not one of {spots} spots has a {column}, so that nothing can be learnt; label them")
        return
    bare = [name for name, found in labels.items() if "" in found]
    if lacking and classified:
        message = f"{lacking} of {spots} spots have no {column}, and a classifier needs one for each; label or remove them"
        yield error("no-labels", bare, message)
    if len(counts) > 1:
        try:
            classes_of(sections, column)
        except DataError as reason:
            yield error("no-labels", names, str(reason))
            return
    yield from _balance(names, column, counts)
    if len(counts) > 1:
        yield from _one_class(sections, column, labels)


def _balance(names: Sequence[str], column: str, counts: Counter[str]) -> Iterator[Finding]:
    shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(6)) + (", ..." if len(counts) > 6 else "")
    if len(counts) == 1:
        yield error(
            "one-class", names, f"all labelled spots have {column} {next(iter(counts))!r}; expected two classes or more"
        )
        return
    rare = [label for label, count in counts.items() if count < RARE * counts.total()]
    if rare:
        least = min(rare, key=counts.__getitem__)
        yield warning(
            "rare-class",
            names,
            f"{column} {least!r} has {counts[least]} of {counts.total()} spots "
            f"({counts[least] / counts.total():.0%}; {shown}), "
            "so that accuracy says little: read the balanced scores, and try loss.class_weights",
        )


def _one_class(sections: Sequence[Section], column: str, labels: dict[str, list[str]]) -> Iterator[Finding]:
    """Yield patients whose spots are all of one class."""
    found: dict[str, set[str]] = defaultdict(set)
    for section in sections:
        found[section.patient] |= set(labels[section.name]) - {""}
    alone = {patient: next(iter(classes)) for patient, classes in found.items() if len(classes) == 1}
    if alone:
        shown = ", ".join(f"{patient}: {label}" for patient, label in list(alone.items())[:3])
        yield warning(
            "one-class-patients",
            [section.name for section in sections if section.patient in alone],
            f"{len(alone)} of {len(found)} patients have spots of one {column} only ({shown}"
            f"{', ...' if len(alone) > 3 else ''}), so that these have no scores of their own, and what marks the patient may "
            "pass for the class; see that folds hold every class",
        )


def _copies(sections: Sequence[Section], config: Config) -> Iterator[Finding]:
    """Yield patches, by their content, that stand in several patients, or several times in one."""
    prints = {section.name: _prints(section, config) for section in sections}
    first = {one: (section, row) for section in sections for row, one in enumerate(prints[section.name])}
    twice = [one for one, count in Counter(one for found in prints.values() for one in found).items() if count > 1]
    plain = {one for one in twice if _is_plain(*first[one])}
    prints = {name: [one for one in found if one not in plain] for name, found in prints.items()}
    holders: dict[str, set[str]] = defaultdict(set)
    for section in sections:
        for one in prints[section.name]:
            holders[one].add(section.patient)
        repeated = len(prints[section.name]) - len(set(prints[section.name]))
        if repeated:
            yield warning(
                "repeated-patches",
                [section.name],
                f"{repeated} of {len(section)} patches are the same picture as another of this patient, and so count twice; "
                "remove what stands twice",
            )
    # Ready-cut tiles of the form folder are compared two sections at a time, with what was measured on them.
    shared = {one for one, patients in holders.items() if len(patients) > 1}
    held = {s.name: len(shared & set(prints[s.name])) for s in sections if not isinstance(s.slide, MosaicSlide)}
    names = [name for name, count in held.items() if count]
    if len(names) > 1:
        most = max(held[section.name] / len(section) for section in sections if section.name in names)
        yield (error if most > COMMON else warning)(
            "same-tissue",
            names,
            f"{len(shared)} patch{'es are' if len(shared) > 1 else ' is'} the same picture in several patients "
            f"({most:.0%} of one patient's), so that a split by patient has it on both sides; remove what stands twice",
        )


def _prints(section: Section, config: Config) -> list[str]:
    """Return a digest of each patch; of files their own, of arrays that of the pixels."""
    slide = section.slide
    if isinstance(slide, PatchSlide | MosaicSlide):
        return [file_digest(path) for path in slide.paths]
    if not isinstance(slide, ArraySlide) or config.data.source != "patches" or len(section) < 2:
        return []
    # Patches of arrays lie two sides apart.
    side = round(section.pitch() / 2)
    boxes = (slide.region(round(x - side / 2), round(y - side / 2), side, "white") for x, y in section.xy)
    return [hashlib.sha256(np.ascontiguousarray(box).tobytes()).hexdigest() for box in boxes]


def _is_plain(section: Section, row: int) -> bool:
    """Return whether a patch shows one colour alone, as bare glass does, which may look the same anywhere."""
    if isinstance(section.slide, PatchSlide | MosaicSlide):
        pixels = pixels_of(section.slide.paths[row])
    else:
        x, y = section.xy[row]
        pixels = section.slide.region(round(x), round(y), 1 + round(section.pitch() / 4), "edge")
    return bool((np.ptp(np.asarray(pixels), axis=(0, 1)) == 0).all())
