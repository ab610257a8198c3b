"""What a folder of tissue holds, and a recipe to begin with, each guess with its evidence."""

import contextlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from scipy import sparse

from bleep.config import Config, describe_fields
from bleep.config.base import merged
from bleep.data.gene_names import aligned, names_of
from bleep.data.labels import LABEL, labels_of
from bleep.data.normalize import refuse_z_scores
from bleep.data.qc.values import check_counts
from bleep.data.readers import read_sections
from bleep.data.readers.forms import form_of
from bleep.data.section import Section
from bleep.data.slides import PatchSlide
from bleep.errors import DataError

ALL_GENES = 300
"""Up to so many genes all are predicted."""
SPECIES = {"human": re.compile(r"ENSG\d{11}"), "mouse": re.compile(r"ENSMUSG\d{11}")}
PATIENT = (
    (re.compile(r"^(.+?)[_\-. ](?:rep|r|s|sec|section|slice)?\d+$", re.IGNORECASE), "what stands before the last number"),
    (re.compile(r"^([A-Za-z]+)\d+$"), "the letters before the number"),
    (re.compile(r"^(.+?)[_\-. ][A-Za-z]$"), "what stands before the last letter"),
)
"""How names of sections say whom they are from, with the words for it."""
GEO = re.compile(r"^GSM\d+_")
"""What names of files in GEO begin with, another number for each sample."""


@final
@dataclass(frozen=True, slots=True)
class Guess:
    """One thing that was concluded from the files."""

    what: str
    found: str
    evidence: str


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe for a folder, and how it came about."""

    settings: dict[str, Any]
    guesses: tuple[Guess, ...]
    sections: tuple[Section, ...]
    suggested: dict[str, str] = field(default_factory=dict)
    """Patients guessed from the sections' names, which the files do not say; not part of the settings."""

    def config(self) -> Config:
        """Return the recipe, checked."""
        return Config.load(self.settings)


def plan(folder: Path, over: Mapping[str, Any]) -> Plan:
    """Look at a folder and return a recipe for it; `over` are settings that are known already and win.

    Raises:
        DataError: nothing there has a form that can be trained on, or it cannot be read.

    """
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder; expected one with tissue")
    given = dict(over.get("data", {}))
    source, why = (given["source"], "given") if "source" in given else form_of(folder)
    guesses = [Guess("form", source, why)]
    settings = merged({"data": {"source": source, "root": str(folder)}}, over)
    with _Heard() as notes:
        sections = read_sections(Config.load(settings).data)
    patches = source == "patches" and any(any(labels_of(section, LABEL)) for section in sections)
    if not patches and not any(len(section.genes) for section in sections):
        raise DataError(
            f"{folder}: {len(sections)} sections, none with genes: nothing to train on; predict them by `bleep query`"
        )
    if bare := [] if patches else [section.name for section in sections if not len(section.genes)]:
        sections = tuple(section for section in sections if section.name not in bare)
        settings = merged(settings, {"data": {"sections": [section.name for section in sections]}})
        guesses.append(Guess("left out", ", ".join(bare), "no genes are there: such tissue can be queried, not trained on"))
    spots = ", ".join(f"{s.name} ({len(s)} spots)" for s in sections[:6]) + (", ..." if len(sections) > 6 else "")
    held = "labelled patches" if patches else f"{len(sections[0].genes)} genes in the first"
    guesses.append(Guess("sections", f"{len(sections)}: {spots}", held))
    found: dict[str, Any] = {}
    parts = [_classes(sections)] if patches else [_species(sections, given), _values(sections), _panel(sections)]
    for part, noted in (*parts, _scale(sections, given, notes, placed=not patches)):
        found = merged(found, part)
        guesses.append(noted)
    suggested, noted = _patients(sections, given)
    part, divided = _split(sections, placed=not patches)
    tiles = _patch_tiles(sections) if patches else _tiles(sections)
    found = merged(merged(merged(found, part), tiles), {"data": {"protocol": folder.resolve().name}})
    guesses += [noted, divided]
    return Plan(merged(merged(settings, found), over), tuple(guesses), sections, suggested)


def as_yaml(made: Plan) -> str:
    """Return the recipe as YAML: the guesses above, and above each setting what it means."""
    lines = ["# Written by `bleep init`. What was found, and by what evidence:"]
    lines += [f"# - {guess.what}: {guess.found} ({guess.evidence})" for guess in made.guesses]
    if made.suggested:
        lines += ["# The files do not say whom the sections are from. If the guess is right, write below `data`:"]
        lines += [f"#   patients: {{{', '.join(f'{_plain(k)}: {_plain(v)}' for k, v in made.suggested.items())}}}"]
    meaning = {name: text for name, _, _, text in describe_fields()}
    for part, value in made.config().model_dump(mode="json", exclude_unset=True).items():
        if not isinstance(value, dict):
            lines.append(f"{part}: {_plain(value)}")
            continue
        lines.append(f"{part}:")
        for key, inner in value.items():
            lines += [f"  # {' '.join(meaning[f'{part}.{key}'].split())}", f"  {key}: {_plain(inner)}"]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """Return a value as YAML on one line; JSON is YAML."""
    simple = (
        isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) and value not in ("none", "yes", "no", "on", "off")
    )
    return str(value) if simple else json.dumps(value)


@final
class _Heard:
    """Listen to what the readers say, such as where a scale is from."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.handler = logging.Handler()
        self.handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]

    def __enter__(self) -> list[str]:
        log = logging.getLogger("bleep")
        self.level = log.level
        log.addHandler(self.handler)
        log.setLevel(logging.INFO)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("bleep").removeHandler(self.handler)
        logging.getLogger("bleep").setLevel(self.level)


def _classes(sections: Sequence[Section]) -> tuple[dict[str, Any], Guess]:
    counts = Counter(label or "(no label)" for section in sections for label in labels_of(section, LABEL))
    shown = ", ".join(f"{label} ({count} patches)" for label, count in counts.most_common(6))
    return {}, Guess("classes", f"{len(counts)}: {shown}", "names, folders or the table say them")


def _species(sections: Sequence[Section], given: Mapping[str, Any]) -> tuple[dict[str, Any], Guess]:
    said = given.get("species") or sections[0].species
    # Readers of one laboratory's form take its species for granted; others have written in that form too.
    if given.get("species") or (said != "unknown" and names_of(sections[0].genes).fit(said)):
        return {"data": {"species": said}}, Guess("species", said, "given" if "species" in given else "said by the files")
    names = sections[0].genes.astype(str)
    for species, ids in SPECIES.items():
        share = float(np.mean([bool(ids.match(name)) for name in names]))
        if share > 0.5:
            return {"data": {"species": species}}, Guess(
                "species", species, f"{share:.0%} of the gene names are its Ensembl ids"
            )
    words = [name for name in names if re.fullmatch(r"[A-Za-z][A-Za-z0-9\-]{2,}", name) and re.search("[A-Za-z]{2}", name)]
    upper = float(np.mean([name == name.upper() for name in words])) if words else 0.0
    title = float(np.mean([name[0].isupper() and name[1:3] == name[1:3].lower() for name in words])) if words else 0.0
    known = {"human": ("ACTB", "GAPDH", "B2M", "COL1A1"), "mouse": ("Actb", "Gapdh", "B2m", "Col1a1")}
    seen = {species: [name for name in some if name in names] for species, some in known.items()}
    for species, share, case in (("human", upper, "in capitals"), ("mouse", title, "written like Actb")):
        if share > 0.7 and (seen[species] or len(words) > 500):
            found = f"{share:.0%} of the gene names are {case}" + (f", {seen[species][0]} among them" if seen[species] else "")
            return {"data": {"species": species}}, Guess("species", species, found)
    return {}, Guess("species", "unknown", "the gene names do not say; set data.species, so that other species are refused")


def _scale(
    sections: Sequence[Section], given: Mapping[str, Any], notes: Sequence[str], *, placed: bool
) -> tuple[dict[str, Any], Guess]:
    shown = ", ".join(sorted({f"{section.mpp:.4g}" for section in sections}))
    if "mpp" in given:
        why = "given"
    elif not placed or not sections[0].has_positions:
        why = "ready-cut tiles do not say it: a pixel counts as one micron; set data.mpp where it is known"
    else:
        said = [line for line in notes if "micron" in line or " um" in line]
        why = said[0] if said else "as the files, or their form, have it"
    known = placed and sections[0].has_positions and sections[0].pitch() < math.inf
    distance = f"; spots stand {sections[0].pitch() * sections[0].mpp:.0f} microns apart" if known else ""
    return {}, Guess("scale", f"{shown} microns per pixel{distance}", why)


def _values(sections: Sequence[Section]) -> tuple[dict[str, Any], Guess]:
    odd = {}
    for section in sections:
        matrix = sparse.csr_matrix(section.counts.X)
        refuse_z_scores(section.name, matrix)  # Before a recipe is written that no training takes.
        values = matrix.data
        if np.any(values < 0) or np.any(values != np.round(values)):
            odd[section.name] = "negative ones" if np.any(values < 0) else "fractions"
    if len(odd) not in (0, len(sections)):
        check_counts(sections, "log1p")  # Logarithms beside counts are refused: no setting suits both.
        if "negative ones" not in odd.values():
            found = f"all are whole numbers but those of {', '.join(odd)}, which are no logarithms either"
            return {"panel": {"normalise": "log1p"}}, Guess("values", "no logarithm is taken yet", found)
    for name, kind in odd.items():
        return {"panel": {"normalise": "none"}}, Guess("values", "normalised already", f"there are {kind} in {name}")
    return {"panel": {"normalise": "log1p"}}, Guess("values", "raw counts", "all are whole numbers")


def _panel(sections: Sequence[Section]) -> tuple[dict[str, Any], Guess]:
    count = len(sections[0].genes)
    with contextlib.suppress(DataError):
        count = len(aligned(sections)[0])
    if count <= ALL_GENES:
        return {"panel": {"choice": "all"}}, Guess("panel", "all genes", f"there are {count}")
    wanted: dict[str, Any] = {"choice": "variance", "size": 250, "candidates": min(1000, count)}
    return {"panel": wanted}, Guess(
        "panel", "250 genes", f"of the 1,000 of highest mean, those of highest variance; {count} measured"
    )


def _patients(sections: Sequence[Section], given: Mapping[str, Any]) -> tuple[dict[str, str], Guess]:
    names = {section.name: section.patient for section in sections}
    if any(name != patient for name, patient in names.items()) or "patients" in given:
        shown = pd.Series(names).groupby(pd.Series(names)).size()
        listed = ", ".join(f"{name} ({count} section{'s' * (count > 1)})" for name, count in shown.items())
        return {}, Guess("patients", listed, "given" if "patients" in given else "as the files, or their form, say")
    for rule, words in PATIENT:
        found = [rule.match(GEO.sub("", name)) for name in names]
        guessed = {name: hit.group(1) for name, hit in zip(names, found, strict=True) if hit}
        if len(guessed) == len(names) and 1 < len(set(guessed.values())) < len(names):
            listed = ", ".join(sorted(set(guessed.values())))
            return guessed, Guess("patients", f"perhaps {listed}", f"guessed from the names ({words}), and not used: see below")
    return {}, Guess("patients", "each section is its own", "neither files nor names say; set data.patients where it is known")


def _split(sections: Sequence[Section], *, placed: bool) -> tuple[dict[str, Any], Guess]:
    patients, cut = {section.patient for section in sections}, not placed or not sections[0].has_positions
    said = any(section.patient != section.name for section in sections)
    by, count = ("patient", len(patients)) if said and len(patients) > 1 else ("section", len(sections))
    if count > 1:
        part: dict[str, Any] = {"split": by, "folds": min(4, count)}
        return {"data": part}, Guess(
            "held out", f"one of {part['folds']} parts, by {by}", f"there are {count}; see --data.fold"
        )
    if cut:
        return {"data": {"split": "none"}}, Guess(
            "held out", "nothing", "one section of ready-cut tiles, whose places are unknown"
        )
    return {"data": {"split": "block", "folds": 4}}, Guess("held out", "a quarter, by blocks", "there is only one section")


def _tiles(sections: Sequence[Section]) -> dict[str, Any]:
    """Return how tiles are cut and what learns from them: the shipped recipes' way, within what the pictures show."""
    cut = not sections[0].has_positions
    # By digits, as a tile rounded up by more than a thousandth of itself would show less than is asked for.
    shown = min(s.tile_side * s.mpp for s in sections if s.tile_side) if cut else 0.0
    microns = [float(f"{shown:.5g}")] if cut else [155.0, 310.0]
    return {
        "tiles": {"pixels": 224, "microns": microns},
        "image": {"trunk": "vit_small_patch14_dinov2", "layer": 5},
        "head": {"hidden": 256, "dropout": 0.5},
        "loss": {"task": "both"},
        "optim": {"epochs": 60, "gene_dropout": 0.5},
    }


def _patch_tiles(sections: Sequence[Section]) -> dict[str, Any]:
    """Return how labelled patches are shown, and what learns their classes: the way of configs/idc.yaml."""
    slide = sections[0].slide
    # Patches of arrays lie two sides apart from one another.
    side = max(slide.whole) if isinstance(slide, PatchSlide) else half if (half := sections[0].pitch() / 2) < math.inf else 50.0
    return {
        "tiles": {"pixels": 112, "microns": [float(f"{side * sections[0].mpp:.5g}")]},
        "image": {"trunk": "vit_small_patch14_dinov2", "layer": 5},
        "head": {"hidden": 128, "dropout": 0.5},
        "loss": {"task": "classify", "class_weights": 0.5},
        "panel": {"choice": "all"},
        "optim": {"epochs": 20},
    }
