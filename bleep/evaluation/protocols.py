"""Protocols by name: data, split, genes, values, smoothing and metric, frozen, with a hash that stands beside every number."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import pandas as pd

from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.splits import Split
from bleep.errors import ConfigError, MismatchError

LabelsName = Literal["panel", "smoothed", "log counts"]


@final
@dataclass(frozen=True, slots=True)
class Protocol:
    """Everything that a score depends on, but for the model."""

    name: str
    data: str
    split: str
    genes: str
    values: str
    smoothing: str
    metric: str
    inflates: str
    """What makes its numbers larger than they would be on new tissue."""
    settings: Mapping[str, Any]
    """Settings of a run, by dotted name, that must be so."""
    spots: Mapping[str, int] = field(default_factory=dict)
    """Every section of the data and how many spots it has; empty where the data are open."""
    test: tuple[str, ...] = ()
    """Sections that are each tested once in a whole result; empty where the data are open."""
    gene_list: str = ""
    """sha256 of the sorted genes, one a line, where they are a list."""
    labels: LabelsName = "panel"
    """What is scored against: the panel's values, these smoothed, or log1p of raw counts."""
    probe: bool = False
    """Scored is a ridge on the run's frozen features, not the run's own predictors."""
    chosen_on_test: bool = False
    """Sets of genes chosen on the test section are scored too."""
    departs: str = ""
    """Where what runs here departs from what was published under the name."""

    def digest(self) -> str:
        """Return the first 12 digits of a sha256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, config: Config) -> list[tuple[str, Any, Any]]:
        """Return (setting, the protocol's value, the run's value) wherever a run's settings depart."""
        tree = config.dump()
        found = []
        for name, expected in self.settings.items():
            section, _, key = name.partition(".")
            if tree[section][key] != expected:
                found.append((name, expected, tree[section][key]))
        if config.panel.include and "panel.choice" in self.settings:
            found.append(("panel.include", [], list(config.panel.include)))
        if config.panel.pool and "panel.normalise" in self.settings:
            found.append(("panel.pool", 0.0, config.panel.pool))
        return found

    def check(self, config: Config, panel: GenePanel, divided: Split, run: str) -> None:
        """Refuse a run that was not made by this protocol.

        Raises:
            MismatchError: settings, genes or sections differ; both sides are named.

        """
        for name, expected, here in self.differences(config):
            raise MismatchError(
                f"{run}: has {name} = {here}, but protocol {self.name} has {expected}; train by the protocol's recipe"
            )
        if self.gene_list and genes_digest(panel.genes) != self.gene_list:
            raise MismatchError(
                f"{run}: predicts {len(panel.genes)} genes that are not the list of protocol {self.name} ({self.genes}); "
                "give that list as panel.list"
            )
        if not self.spots:
            return
        here = dict.fromkeys(self.spots, 0)
        for section in (*divided.train, *divided.val, *divided.test):
            here[section.name] = here.get(section.name, 0) + len(section)
        # Spatial blocks drop the spots of a margin, so there may be fewer.
        same = here == self.spots if divided.by != "block" else all(0 < here[n] <= self.spots.get(n, 0) for n in here)
        if not same:
            raise MismatchError(
                f"{run}: is of sections {_counted(here)}, but protocol {self.name} of {_counted(self.spots)}; "
                "name those in data.sections"
            )

    def describe(self) -> dict[str, str]:
        """Return what a table says of it."""
        said = {"protocol": f"{self.name}, hash {self.digest()}: {self.data}; {self.metric}", "inflated by": self.inflates}
        return said | ({"departs from the published": self.departs} if self.departs else {})


def genes_digest(genes: Sequence[str]) -> str:
    """Return a sha256 of a set of genes, whatever their order."""
    return hashlib.sha256("\n".join(sorted(genes)).encode()).hexdigest()


def named(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        ConfigError: there is none of that name.

    """
    if name not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {name!r}; found {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _counted(spots: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} spots)" for name, count in spots.items() if count)


_LOG = {"panel.normalise": "log1p", "panel.target": 10_000.0}
_ALL = _LOG | {"panel.denominator": "all"}
_VALUES = "log1p of counts per 10,000, the total over all genes of the section"
_METRIC = "Pearson r per gene over a test section's spots, mean over genes, then over sections; HEG50 and HVG50 of training"
_HER2 = {"panel.choice": "variance", "panel.size": 250, "panel.candidates": 1000, "panel.min_spots": 0.0}
_250 = "of the 1000 highest training means, the 250 of highest training variance"
_PATIENT_C = {"C2": 187, "C3": 180, "C4": 184, "C5": 181}
_MICE = {"MOB1": 379, "MOB2": 407, "MOB3": 438, "MOB4": 403}
_ALS = {"CN51_C2": 38, "CN52_C2": 60, "L6CN51_E1": 34, "CN62_E2": 91, "CN63_E2": 99, "CN64_C1": 78, "CN67_E2": 99}
_ALS_MICE = dict(zip(_ALS, ("m794", "m794", "m794", "m652", "m652", "m664", "m635"), strict=True))
_OUT = tuple(
    f"{patient}{number}"
    for patient, count in {"A": 6, "B": 6, "C": 6, "D": 6, "E": 3, "F": 3, "G": 3}.items()
    for number in range(1, count + 1)
)[1:]

OURS = (
    Protocol(
        name="her2st-c",
        data="HER2ST, patient C",
        split="three of C2, C3, C4, C5 train, the fourth tests; four folds",
        genes=_250,
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="all sections are near-adjacent cuts of one tumour: this is a new section, not a new patient",
        settings=_ALL | _HER2 | {"data.source": "her2st", "data.split": "section", "data.folds": 4},
        spots=_PATIENT_C,
        test=tuple(_PATIENT_C),
    ),
    Protocol(
        name="her2st-b",
        data="HER2ST, patients B and C",
        split="C2 to C5 train, B4 tests",
        genes=_250,
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="nothing known; one weak test section, so the number is uncertain",
        settings=_ALL | _HER2 | {"data.source": "her2st", "data.split": "patient", "data.test": ["B"]},
        spots={"B4": 283} | _PATIENT_C,
        test=("B4",),
    ),
    Protocol(
        name="mob-mouse",
        data="mouse olfactory bulb, two sections of each of two mice",
        split="the sections of one mouse train, those of the other test; two folds",
        genes="all 1000 of the files",
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="the 1000 genes of the files were chosen by others, who may have looked at all four sections",
        settings=_ALL | {"data.source": "st2k", "data.split": "patient", "data.folds": 2, "panel.choice": "all"},
        spots=_MICE,
        test=tuple(_MICE),
    ),
    Protocol(
        name="her2st-b-to-c",
        data="HER2ST, patients B and C",
        split="B4 trains, C2 to C5 test",
        genes=_250,
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="nothing known; one weak training section, and the four test sections are near-adjacent cuts of one tumour",
        settings=_ALL | _HER2 | {"data.source": "her2st", "data.split": "patient", "data.test": ["C"]},
        spots={"B4": 283} | _PATIENT_C,
        test=tuple(_PATIENT_C),
    ),
    Protocol(
        name="als-mouse",
        data="mouse spinal cord (ALS model), seven sections of four mice",
        split="the sections of three mice train, those of the fourth test; four folds",
        genes=_250 + "; a gene that a test section does not list is left out of that section's scores",
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="nothing known; mice differ in age and genotype too, and sections have few spots, so the number is uncertain",
        settings=_ALL
        | _HER2
        | {
            "panel.absent": "skip",
            "data.source": "her2st",
            "data.split": "patient",
            "data.folds": 4,
            "data.patients": _ALS_MICE,
        },
        spots=_ALS,
        test=tuple(_ALS),
    ),
    Protocol(
        name="muscle-blocks",
        data="10x Visium, regenerating mouse muscle Vis5A, a picture put together from its grey and low-resolution ones",
        split="4 x 4 spatial blocks, four folds of four blocks, one spot of margin dropped",
        genes="seen in more than 10 % of the training spots, then the 1000 of highest training variance",
        values=_VALUES,
        smoothing="none",
        metric=_METRIC,
        inflates="test blocks lie beside training blocks of the same section",
        settings=_ALL
        | {"panel.choice": "variance", "panel.size": 1000, "panel.candidates": None, "panel.min_spots": 0.1}
        | {"data.source": "visium", "data.split": "block", "data.folds": 4, "data.blocks": 4, "data.margin": 1.0},
        spots={"Vis5A_2dpi": 982},
        test=("Vis5A_2dpi",),
    ),
)
"""Protocols of this project."""

OTHERS = (
    Protocol(
        name="hist2st-785",
        data="HER2ST, sections A2 to G3",
        split="one section out, other sections of its patient train",
        genes="the 785 genes of HisToGene and Hist2ST",
        values="log10(1 + counts per 10,000), the total over these 785 genes; r is the same for log1p, its multiple",
        smoothing="none",
        metric="Pearson r per gene over the test section's spots, mean over genes, then over sections",
        inflates="a total over 785 genes alone adds about .08; other sections of the patient train; the list saw all sections",
        settings=_LOG
        | {"panel.denominator": "panel", "panel.choice": "list"}
        | {"data.source": "her2st", "data.split": "section"},
        test=_OUT,
        gene_list="cd583bbf070dd3eeda2a128cfbb573326ef2b3ceeef3b1e654c12817bfbd76e4",
    ),
    Protocol(
        name="triplex-250",
        data="HER2ST, 36 sections of 8 patients",
        split="one patient out",
        genes="the 250 of highest training mean",
        values="log10(1 + counts per 10,000), the total over these genes; r is the same for log1p, its multiple",
        smoothing="test labels are means over a spot and its 8 neighbours",
        metric="Pearson r per gene over a test section's spots, mean over genes, then over sections",
        inflates="smoothing takes out the noise that no picture can foretell, and may more than double r; total over 250 genes",
        settings=_LOG
        | {"panel.denominator": "panel", "panel.choice": "mean", "panel.size": 250, "panel.min_spots": 0.0}
        | {"data.source": "her2st", "data.split": "patient"},
        labels="smoothed",
        departs="training labels are not smoothed here, test labels are; genes are chosen on training sections, not on all, "
        "and not first among the 1000 most variable",
    ),
    Protocol(
        name="hest",
        data="any tissue with two patients or more; published: nine tasks of HEST-1k",
        split="patients in turn; test spots of a fold are pooled",
        genes="50 of highest training variance among those seen in a tenth of the training spots",
        values="log1p of raw counts, no total",
        smoothing="none",
        metric="standardised features, PCA to 256, ridge without intercept, alpha = 100 / (256 x 50); mean r over genes",
        inflates="raw counts are not divided by a spot's total, so that telling dense from sparse tissue serves all genes",
        settings={"data.split": "patient", "panel.choice": "variance", "panel.size": 50, "panel.min_spots": 0.1}
        | {"panel.candidates": None, "image.train": "frozen", "tiles.microns": [112.0], "tiles.pixels": 224},
        labels="log counts",
        probe=True,
        departs="genes are chosen on the training fold, not on all samples; by variance, not by normalised dispersion",
    ),
    Protocol(
        name="bleep-liver",
        data="GSE240429, human liver, four slices of one donor",
        split="A1, B1, D1 train, C1 (slice 3) tests",
        genes="union of the 1000 most variable of each training slice; published: of each slice, 3,467",
        values=_VALUES,
        smoothing="none",
        metric="Pearson r per gene over the test slice's spots: eight markers, and the 50 genes of highest sum and of highest "
        "variance in the TEST slice",
        inflates="genes scored are chosen by the test truth; all slices are of one donor",
        settings=_ALL
        | {"data.source": "liver", "data.split": "section", "data.test": ["C1"]}
        | {"panel.choice": "hvg", "panel.size": 1000},
        chosen_on_test=True,
        departs="values are not corrected by Harmony over the test slice, and no gene of the panel is chosen on it: two of the "
        "published protocol's three leaks are closed, so the published numbers are of another protocol",
    ),
    Protocol(
        name="dacon",
        data="the liver slices as tiles and CSV",
        split="as given",
        genes="3,467 of the CSV",
        values="as in the CSV: normalised and corrected for batches over all slices",
        smoothing="none",
        metric="max((r per spot + best gene's r + HEG + HVG) / 4, 0)",
        inflates="r per spot is mostly the mean profile; the best gene is chosen by the test truth",
        settings={"panel.normalise": "none"},
    ),
)
"""Protocols of others, to be comparable where the data allow."""

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (*OURS, *OTHERS)}


TABLE = Path(__file__).with_name("published.tsv")
"""protocol, method, part (`all` or one section), score, value, trained_on, source."""
WHOLE = "all"
"""A part that is the whole result."""


@lru_cache(maxsize=1)
def published() -> pd.DataFrame:
    """Return the table."""
    return pd.read_csv(TABLE, sep="\t", comment="#", dtype={"part": str})


def beside(protocol: str, sections: Collection[str], *, whole: bool) -> pd.DataFrame | None:
    """Return what may stand beside a result of a protocol: rows of its test sections, and of the whole if it is whole.

    None where nothing may.
    """
    table = published()
    mine = (table["protocol"] == protocol) & (table["part"].isin(list(sections)) | ((table["part"] == WHOLE) & whole))
    return table[mine].reset_index(drop=True) if mine.any() else None


def lines(rows: pd.DataFrame | None) -> list[str]:
    """Say them, one line a method and score."""
    if rows is None:
        return []
    found = []
    for (method, score, trained, source), group in rows.groupby(["method", "score", "trained_on", "source"], sort=False):
        values = ", ".join(f"{part} {value:.3f}" for part, value in zip(group["part"], group["value"], strict=True))
        mean = f" (mean {group['value'].mean():.3f})" if len(group) > 1 else ""
        found.append(f"published, {method}, {score}: {values}{mean}; trained on {trained}; {source}")
    return found
