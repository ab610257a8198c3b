"""The panel: which genes, and how their values are made; fitted on training sections alone."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Float64, Int64

from bleep.config import AbsentName, PanelConfig
from bleep.data.batch_correction import Correction, correction
from bleep.data.gene_names import aligned, ids_of, locate
from bleep.data.normalize import SCALES, GeneVector, choose, dense_values, included, ranked
from bleep.data.section import Section
from bleep.errors import DataError, MismatchError

log = logging.getLogger(__name__)

MARGIN = 0.25
"""Share of a gene's training range by which a prediction may leave that range at either end."""


SINGLE = 1e-6
"""Share of a gene's largest value below which a spread is one of single precision's rounding: the gene is constant."""


@final
@dataclass(frozen=True, slots=True)
class GenePanel:
    """Ordered genes, their normalisation, and the training statistics that scaling needs.

    Two scales: *normalised* values are what predictions and scores are in; *scaled* values are what the model sees.
    """

    genes: tuple[str, ...]
    """Names, in the order of the columns."""
    others: tuple[str, ...]
    """The same genes' names in the other vocabulary, Ensembl ids beside symbols; empty where the training files did not say."""
    species: str
    """Species of the training sections."""
    normalise: str
    """`log1p` or `none`."""
    target: float
    """Total per spot before the logarithm."""
    denominator: str
    """`all` or `panel`: the genes a spot's total is taken over."""
    scale: str
    """Scaling of the model's input."""
    low: GeneVector
    """Normalised values below are clipped to it, for the model."""
    high: GeneVector
    """Normalised values above are clipped to it, for the model."""
    shift: GeneVector
    """Subtracted from the clipped normalised values."""
    factor: GeneVector
    """Then divided by."""
    mean: GeneVector
    """Mean of the normalised, batch-corrected values over the training spots."""
    variance: GeneVector
    """Variance of the same."""
    sections: tuple[str, ...]
    """Names of the training sections it was fitted on."""
    batch: Correction | None
    """What makes the training sections alike; None: nothing does."""
    range: Float64[np.ndarray, "2 genes"] | None = None
    """Least and most of the normalised, batch-corrected values over the training spots; None in panels of older versions."""
    pool: float = 0.0
    """Microns within which the counts of spots are summed before they are normalised; 0: each spot has its own."""

    @classmethod
    def fit(cls, sections: Sequence[Section], config: PanelConfig) -> "GenePanel":
        """Choose the genes and measure their statistics.

        Raises:
            DataError: the sections share no gene, have no counts, or fewer genes fit than were asked for.

        """
        shared, others, columns = aligned(sections)
        most = max(sections, key=lambda section: len(section.genes))
        if len(shared) < len(most.genes):
            _say(
                f"the panel is chosen among the {len(shared)} genes that all {len(sections)} training sections list; "
                f"{most.name} alone lists {len(most.genes)}"
            )
        chosen = included(choose(shared, sections, columns, config), shared, others, config.include)
        tables = [dense_values(s, found[chosen], config, np.float64) for s, found in zip(sections, columns, strict=True)]
        values = np.concatenate(tables) if len(tables) > 1 else tables[0]
        return cls(
            genes=tuple(shared[chosen]),
            others=tuple(others[place] for place in chosen),
            species=sections[0].species,
            normalise=config.normalise,
            target=config.target,
            denominator=config.denominator,
            scale=config.scale,
            **_statistics(values, sections, config),
            pool=config.pool,
        )

    def refitted(self, sections: Sequence[Section], config: PanelConfig) -> "GenePanel":
        """Return the panel with every statistic measured on these sections instead; the genes stay."""
        values = np.concatenate([self.values(section) for section in sections]).astype(np.float64)
        # One section has nothing to be made alike to.
        rule = config if len(sections) > 1 else config.model_copy(update={"batch": "none"})
        measured = _statistics(values, sections, rule)
        return replace(self, **measured if self.range is not None else {**measured, "range": None})

    def __repr__(self) -> str:
        named = ", ".join(self.genes[:3]) + (", ..." if len(self.genes) > 3 else "")
        return f"GenePanel({len(self.genes)} genes: {named}; {self.describe()}; fitted on {', '.join(self.sections)})"

    def values(self, section: Section, absent: AbsentName = "refuse") -> Float32[np.ndarray, "spots genes"]:
        """Return the section's normalised values, never batch-corrected.

        A gene that the section does not list is refused, or is NaN (`skip`), or 0 (`zero`).

        Raises:
            MismatchError: the section lacks genes of the panel, even half of them where they may be absent, or is of another
                species.

        """
        columns = self.columns(section, absent)
        there = columns >= 0
        rule = {"normalise": self.normalise, "target": self.target, "denominator": self.denominator, "pool": self.pool}
        found = dense_values(section, columns[there], PanelConfig.model_validate(rule), np.float32)
        if there.all():
            return found
        values = np.full((len(section), len(columns)), np.nan if absent == "skip" else 0.0, np.float32)
        values[:, there] = found
        return values

    def training_values(self, section: Section) -> Float32[np.ndarray, "spots genes"]:
        """Return the normalised, batch-corrected values of a training section, or of some of its training spots.

        Raises:
            MismatchError: as `values`; or there is a correction and a spot was not trained on.

        """
        values = self.values(section)
        return values if self.batch is None else values + self.batch.added(section)

    def scaled(self, values: Float[np.ndarray, "spots genes"]) -> Float32[np.ndarray, "spots genes"]:
        """Turn normalised values into what the model sees."""
        return ((np.clip(values, self.low, self.high) - self.shift) / self.factor).astype(np.float32)

    def unscaled(self, scaled: Float[np.ndarray, "spots genes"]) -> Float32[np.ndarray, "spots genes"]:
        """Turn what the model sees back into normalised values (exact but for what was clipped)."""
        return (scaled * self.factor + self.shift).astype(np.float32)

    def bounded(
        self, values: Float32[np.ndarray, "tiles genes"]
    ) -> tuple[Float32[np.ndarray, "tiles genes"], Bool[np.ndarray, " tiles"]]:
        """Bring normalised values into each gene's training range widened by `MARGIN`; return also which tiles that changed."""
        if self.range is None:
            return values, np.zeros(len(values), dtype=bool)
        held = np.clip(values, *widened(*self.range)).astype(np.float32)
        return held, (held != values).any(axis=1)

    def apply(self, section: Section) -> Float32[np.ndarray, "spots genes"]:
        """Return what the model sees of a training section.

        Raises:
            MismatchError: as `training_values`.

        """
        return self.scaled(self.training_values(section))

    def columns(self, section: Section, absent: AbsentName = "refuse") -> Int64[np.ndarray, " genes"]:
        """Return the section's column of each gene, found by either name (see `bleep.data.gene_names.locate`).

        A gene that may be absent, and is, has a negative column.

        Raises:
            MismatchError: it lacks genes of the panel, even half of them where they may be absent, or is of another species.

        """
        self.check_species(section)
        names = pd.Index(self.genes)
        columns = locate(names, self.others, section.counts.var)
        lacking = int((columns < 0).sum())
        # Half of a panel is not lost to shallow sequencing: such a section names its genes otherwise.
        if lacking and (absent == "refuse" or 2 * lacking >= len(names)):
            missing = names[columns < 0]
            twin = _namesake(names, self.others, columns, section)
            raise MismatchError(
                f"section {section.name}: lacks {len(missing)} of the panel's {len(names)} genes, first "
                f"{', '.join(missing[:5])}; its genes are named like {', '.join(map(str, section.genes[:3])) or '(none)'}: "
                + (twin or "name them as the panel does, or give both symbols and Ensembl ids")
            )
        _tell(section, names[columns >= 0], columns[columns >= 0])
        return columns

    def check(self, section: Section) -> None:
        """Refuse a section that does not fit.

        Raises:
            MismatchError: it lacks genes of the panel, or is of another species.

        """
        self.columns(section)

    def check_species(self, section: Section) -> None:
        """Refuse tissue of another species; `unknown` fits any.

        Raises:
            MismatchError: both are known and differ.

        """
        if "unknown" not in (self.species, section.species) and section.species != self.species:
            raise MismatchError(f"section {section.name}: is of {section.species}, but the panel was fitted on {self.species}")

    def top(self, count: int, by: str) -> np.ndarray:
        """Return the columns of highest training `mean`, `variance` or coefficient of variation (`cv`), best first."""
        return ranked(self.mean, self.variance, by)[:count]

    def describe(self) -> str:
        """Return the normalised scale in words."""
        corrected = "" if self.batch is None else f", training sections corrected by {self.batch.kind}"
        if self.normalise == "none":
            return f"values as in the files{corrected}"
        total = "all genes of the section" if self.denominator == "all" else "the panel's genes"
        pooled = f", counts summed over the spots within {self.pool:g} um" if self.pool else ""
        return f"log1p of counts per {self.target:g}, total over {total}{pooled}{corrected}"

    def to_dict(self) -> dict[str, Any]:
        """Return the panel as JSON values; of a batch correction, which has a file of its own, its kind and sha256."""
        plain: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            plain[name] = [_number(item) for item in value] if isinstance(value, np.ndarray) and value.ndim == 1 else value
        # What is not there is not written, so that a panel of an older version keeps its digest.
        if not any(self.others):
            del plain["others"]
        if not self.pool:
            del plain["pool"]
        if self.batch is None:
            del plain["batch"]
        else:
            plain["batch"] = {"kind": self.batch.kind, "digest": self.batch.digest()}
        if self.range is None:
            del plain["range"]
        else:
            plain["range"] = self.range.tolist()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], batch: Correction | None = None) -> "GenePanel":
        """Rebuild a panel from `to_dict` and its batch correction, if it has one.

        Raises:
            DataError: a part is missing, or the correction is not the panel's.

        """
        try:
            lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("genes", "sections")}
            lists["others"] = tuple(map(str, plain.get("others", [""] * len(lists["genes"]))))
            arrays: dict[str, Any] = {
                n: np.array(plain[n], dtype=np.float64) for n in ("low", "high", "shift", "factor", "mean", "variance")
            }
            words = {name: plain[name] for name in ("species", "normalise", "target", "denominator", "scale")}
            spanned = np.array(plain["range"], dtype=np.float64) if "range" in plain else None
            pool = float(plain.get("pool", 0.0))
            expected = plain["batch"]["digest"] if "batch" in plain else None
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the panel's file lacks or garbles {error}; it is damaged: train again") from None
        for name, array in (*arrays.items(), ("others", np.array(lists["others"]))):
            if array.shape != (len(lists["genes"]),):
                raise DataError(f"the panel's file lacks or garbles {name!r}; it is damaged: train again")
        if spanned is not None and (spanned.shape != (2, len(lists["genes"])) or not (spanned[0] <= spanned[1]).all()):
            raise DataError("the panel's file lacks or garbles 'range'; it is damaged: train again")
        if expected != (batch and batch.digest()):
            raise DataError(
                "the panel's batch correction is not the one it was fitted with: its files are damaged; train again"
            )
        return cls(**lists, **arrays, **words, batch=batch, range=spanned, pool=pool)

    def digest(self) -> str:
        """Return a sha256 of everything in the panel."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _statistics(values: Float64[np.ndarray, "spots genes"], sections: Sequence[Section], config: PanelConfig) -> dict[str, Any]:
    """Return what a panel measures on the normalised values of its training sections, by the name of the field."""
    batch = correction(config.batch, values, sections)
    if batch is not None:
        values += batch.codes @ batch.parts
    low, high = np.full(values.shape[1], -np.inf), np.full(values.shape[1], np.inf)
    if config.clip:
        low, high = np.quantile(values, [config.clip, 1 - config.clip], axis=0)
    shift, factor = SCALES[config.scale](np.clip(values, low, high))
    # What rounding makes of equal numbers is no spread to divide by.
    varies = factor > SINGLE * np.abs(values).max(axis=0)
    return {
        "low": low,
        "high": high,
        "shift": shift,
        "factor": np.where(varies, factor, 1.0),
        "mean": values.mean(axis=0),
        "variance": values.var(axis=0),
        "sections": tuple(section.name for section in sections),
        "batch": batch,
        "range": np.stack([values.min(axis=0), values.max(axis=0)]),
    }


def widened(least: GeneVector, most: GeneVector) -> Float64[np.ndarray, "2 genes"]:
    """Return the range of each gene, widened by `MARGIN` of it at either end: what a prediction may be."""
    margin = MARGIN * (most - least)
    return np.stack([least - margin, most + margin])


def _namesake(names: pd.Index, others: Sequence[str], columns: Int64[np.ndarray, " genes"], section: Section) -> str:
    """Say of a gene that is missing which other gene bears its name in the section; empty where none does."""
    for at in np.flatnonzero(columns < 0).tolist():
        if names[at] in section.genes and "gene_id" in section.counts.var:
            held, sought = section.counts.var.loc[names[at], "gene_id"], ids_of(names[[at]], [others[at]])[0]
            if sought and held != sought:
                return f"{names[at]} stands there for {held}, while the panel's is {sought}"
    return ""


@lru_cache(maxsize=256)
def _say(words: str) -> None:
    """Say it, but not again each time the same section is looked at."""
    log.info(words)


def _tell(section: Section, names: pd.Index, columns: Int64[np.ndarray, " genes"]) -> None:
    """Say how many genes of a section were found under another name than the panel's."""
    there = section.genes[columns]
    other = np.flatnonzero(there != names)
    if len(other):
        first = other[0]
        _say(
            f"section {section.name}: {len(other)} of {len(names)} genes go by another name there and were matched by symbol "
            f"or Ensembl id, such as {names[first]} by {there[first]}"
        )


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(value)
