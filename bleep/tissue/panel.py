"""The panel: which genes, and how their values are made; fitted on training sections alone."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32
from scipy import sparse

from bleep.errors import DataError, MismatchError
from bleep.settings import ChoiceName, PanelConfig, ScaleName
from bleep.tissue.normalise import Moments, dispersion, moments, normalised
from bleep.tissue.section import Section


@final
@dataclass(frozen=True, slots=True)
class GenePanel:
    """Ordered genes, their normalisation, and the training statistics that scaling needs.

    Two scales: *normalised* values are what predictions and scores are in; *scaled* values are what the model sees.
    """

    genes: tuple[str, ...]
    """Names, in the order of the columns."""
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
    low: Moments
    """Normalised values below are clipped to it, for the model."""
    high: Moments
    """Normalised values above are clipped to it, for the model."""
    shift: Moments
    """Subtracted from the clipped normalised values."""
    factor: Moments
    """Then divided by."""
    mean: Moments
    """Mean of the normalised values over the training spots."""
    variance: Moments
    """Variance of the same."""
    sections: tuple[str, ...]
    """Names of the training sections it was fitted on."""

    @classmethod
    def fit(cls, sections: Sequence[Section], config: PanelConfig) -> "GenePanel":
        """Choose the genes and measure their statistics.

        Raises:
            DataError: the sections share no gene, have no counts, or fewer genes fit than were asked for.

        """
        shared = _shared_genes(sections)
        tables = [normalised(section, shared, config, None) for section in sections]
        stacked = sparse.vstack(tables).tocsr()
        mean, variance = moments(stacked)
        seen = np.asarray((stacked > 0).mean(axis=0)).ravel()
        keep = np.flatnonzero(seen > config.min_spots) if config.min_spots else np.arange(len(shared))
        if config.candidates is not None:
            keep = keep[np.argsort(-mean[keep], kind="stable")[: config.candidates]]
        chosen = CHOICES[config.choice](_Candidates(shared, keep, mean, variance, tables, config))
        if len(chosen) == 0:
            raise DataError("no gene is left in the panel: lower panel.min_spots or panel.candidates")
        genes = shared[np.sort(chosen)] if config.choice != "list" else shared[chosen]
        values = np.concatenate([normalised(s, genes, config, genes).toarray() for s in sections]).astype(np.float64)
        low, high = np.full(len(genes), -np.inf), np.full(len(genes), np.inf)
        if config.clip:
            low, high = np.quantile(values, [config.clip, 1 - config.clip], axis=0)
        shift, factor = SCALES[config.scale](np.clip(values, low, high))
        return cls(
            genes=tuple(genes),
            species=sections[0].species,
            normalise=config.normalise,
            target=config.target,
            denominator=config.denominator,
            scale=config.scale,
            low=low,
            high=high,
            shift=shift,
            factor=np.where(factor > 0, factor, 1.0),
            mean=values.mean(axis=0),
            variance=values.var(axis=0),
            sections=tuple(section.name for section in sections),
        )

    def values(self, section: Section) -> Float32[np.ndarray, "spots genes"]:
        """Return the section's normalised values.

        Raises:
            MismatchError: the section lacks genes of the panel, or is of another species.

        """
        self.check(section)
        genes = pd.Index(self.genes)
        rule = {"normalise": self.normalise, "target": self.target, "denominator": self.denominator}
        config = PanelConfig.model_validate(rule)
        return normalised(section, genes, config, genes).toarray().astype(np.float32)

    def scaled(self, values: Float[np.ndarray, "spots genes"]) -> Float32[np.ndarray, "spots genes"]:
        """Turn normalised values into what the model sees."""
        return ((np.clip(values, self.low, self.high) - self.shift) / self.factor).astype(np.float32)

    def unscaled(self, scaled: Float[np.ndarray, "spots genes"]) -> Float32[np.ndarray, "spots genes"]:
        """Turn what the model sees back into normalised values (exact but for what was clipped)."""
        return (scaled * self.factor + self.shift).astype(np.float32)

    def apply(self, section: Section) -> Float32[np.ndarray, "spots genes"]:
        """Return what the model sees of a section."""
        return self.scaled(self.values(section))

    def check(self, section: Section) -> None:
        """Refuse a section that does not fit.

        Raises:
            MismatchError: it lacks genes of the panel, or is of another species.

        """
        self.check_species(section)
        missing = [gene for gene in self.genes if gene not in section.genes]
        if missing:
            raise MismatchError(
                f"section {section.name}: lacks {len(missing)} of the panel's {len(self.genes)} genes, first "
                f"{', '.join(missing[:5])}; its genes are named like {', '.join(map(str, section.genes[:3])) or '(none)'}"
            )

    def check_species(self, section: Section) -> None:
        """Refuse tissue of another species; `unknown` fits any.

        Raises:
            MismatchError: both are known and differ.

        """
        if "unknown" not in (self.species, section.species) and section.species != self.species:
            raise MismatchError(f"section {section.name}: is of {section.species}, but the panel was fitted on {self.species}")

    def top(self, count: int, by: str) -> np.ndarray:
        """Return the columns of highest training `mean` or `variance`, best first."""
        ranked: np.ndarray = np.argsort(-{"mean": self.mean, "variance": self.variance}[by], kind="stable")
        return ranked[:count]

    def words(self) -> str:
        """Return the normalised scale in words."""
        if self.normalise == "none":
            return "values as in the files"
        total = "all genes of the section" if self.denominator == "all" else "the panel's genes"
        return f"log1p of counts per {self.target:g}, total over {total}"

    def to_dict(self) -> dict[str, Any]:
        """Return the panel as JSON values."""
        plain: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            plain[name] = [_number(item) for item in value] if isinstance(value, np.ndarray) else value
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "GenePanel":
        """Rebuild a panel from `to_dict`.

        Raises:
            DataError: a part is missing.

        """
        try:
            lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("genes", "sections")}
            arrays: dict[str, Any] = {
                n: np.array(plain[n], dtype=np.float64) for n in ("low", "high", "shift", "factor", "mean", "variance")
            }
            words = {name: plain[name] for name in ("species", "normalise", "target", "denominator", "scale")}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the panel's file lacks or garbles {error}; it is damaged: train again") from None
        for name, array in arrays.items():
            if array.shape != (len(lists["genes"]),):
                raise DataError(f"the panel's file lacks or garbles {name!r}; it is damaged: train again")
        return cls(**lists, **arrays, **words)

    def digest(self) -> str:
        """Return a sha256 of everything in the panel."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class _Candidates:
    shared: pd.Index
    keep: np.ndarray
    mean: Moments
    variance: Moments
    tables: list[sparse.csr_matrix]
    config: PanelConfig

    def enough(self, columns: np.ndarray) -> np.ndarray:
        if len(columns) < self.config.size:
            raise DataError(
                f"panel.size asks for {self.config.size} genes, but only {len(columns)} are candidates; "
                "lower panel.size or panel.min_spots, or raise panel.candidates"
            )
        return columns[: self.config.size]


def _from_list(of: _Candidates) -> np.ndarray:
    path = Path(str(of.config.list))
    if not path.is_file():
        raise DataError(f"{path}: no such file; panel.list needs one gene a line")
    try:
        genes = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; panel.list needs one gene a line") from None
    missing = [gene for gene in genes if gene not in of.shared]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(genes)} genes are not measured in every training section, first "
            f"{', '.join(missing[:5])}; remove them from the list"
        )
    if len(set(genes)) < len(genes):
        raise DataError(f"{path}: gene {next(g for g in genes if genes.count(g) > 1)!r} stands more than once")
    return of.shared.get_indexer(pd.Index(genes))


def _from_hvg(of: _Candidates) -> np.ndarray:
    best = set()
    for table in of.tables:
        spread = dispersion(table)[of.keep]
        best.update(of.keep[np.argsort(-spread, kind="stable")[: of.config.size]].tolist())
    return np.array(sorted(best), dtype=np.int64)


CHOICES: Mapping[ChoiceName, Callable[[_Candidates], np.ndarray]] = {
    "all": lambda of: of.keep,
    "list": _from_list,
    "mean": lambda of: of.enough(of.keep[np.argsort(-of.mean[of.keep], kind="stable")]),
    "variance": lambda of: of.enough(of.keep[np.argsort(-of.variance[of.keep], kind="stable")]),
    "hvg": _from_hvg,
}


def _robust(values: Float[np.ndarray, "spots genes"]) -> tuple[Moments, Moments]:
    quarter, middle, three = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(three > quarter, (three - quarter) / 1.349, values.std(axis=0))
    return middle, spread


SCALES: Mapping[ScaleName, Callable[[Float[np.ndarray, "spots genes"]], tuple[Moments, Moments]]] = {
    "none": lambda values: (np.zeros(values.shape[1]), np.ones(values.shape[1])),
    "zscore": lambda values: (values.mean(axis=0), values.std(axis=0)),
    "minmax": lambda values: (values.min(axis=0), np.ptp(values, axis=0)),
    "robust": _robust,
}


def _shared_genes(sections: Sequence[Section]) -> pd.Index:
    for section in sections:
        if section.genes.empty:
            raise DataError(f"section {section.name}: has no genes, so it cannot be trained on; it can only be queried")
    shared = sections[0].genes
    for section in sections[1:]:
        shared = shared[shared.isin(section.genes)]
    if shared.empty:
        first, other = sections[0], sections[1]
        raise DataError(
            f"the training sections share no gene: {first.name} has genes like {first.genes[0]!r}, "
            f"{other.name} like {other.genes[0]!r}; read sections that name genes alike"
        )
    return shared


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(value)
