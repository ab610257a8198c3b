"""What is wrong with labels and patches: classes that are missing or rare, patches that stand twice."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from bleep.config import Config
from bleep.data.labels import LABEL, labels_of
from bleep.data.qc.report import Finding, error, warning
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, MosaicSlide, pixels_of
from bleep.data.slides.base import file_digest
from bleep.data.slides.patches import PatchSlide
from bleep.errors import DataError

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
    yield from _balance(names, column, counts)
    if len(counts) > 1:
        yield from _one_class(sections, column, labels)


def _balance(names: Sequence[str], column: str, counts: Counter[str]) -> Iterator[Finding]:
    shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(6)) + (", ..." if len(counts) > 6 else "")
    if len(counts) == 1:
        yield error("one-class", names, f"all labelled spots have {column} {shown.split()[0]!r}; expected two classes or more")
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
