"""From a configuration to a description of its tissue: tables, figures and an index, in one folder."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd

from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.errors import DataError
from bleep.files import whole
from bleep.marks import COMMENT, marked_csv, plain_cell
from bleep.outputs import check_folder
from bleep.progress import Progress
from bleep.viz import describe as exploration
from bleep.viz.describe import Pairs, Pooled
from bleep.viz.figures import Drawing, save
from bleep.viz.figures import described as exploration_figures
from bleep.viz.figures import on_tissue as exploration_maps
from bleep.viz.figures.on_tissue import spatial_map
from bleep.workflows import Inputs

INDEX = "README.md"
WARNING = (
    "This looks at every spot that was read, test sections included: choose no gene and drop no spot of a scored run by it "
    "(the panel is fitted on training sections alone)."
)
TABLES = {
    "sections.csv": "a row a section: patient, spots, quartiles of a spot's total and of the genes seen in it",
    "genes.csv": "a row a gene: range, quartiles, mean, variance, share of zeros, cv (standard deviation over mean); ranks by "
    "mean (HEG), variance (HVG) and cv, 1 the highest",
    "outliers.csv": f"odd spots, more than {exploration.MADS:g} median absolute deviations from the median of their section, "
    "in log(1 + total), log(1 + genes seen), or (further alone) log(1 + distance) from the section's middle in the principal "
    "components",
    "gene_pairs.csv": f"pairs of genes with |r| of {exploration.STRONG:g} or more; r_within is r after each section's own "
    f"means are taken off; genes seen in less than {100 * exploration.COMMON:g} % of the spots are left out",
    "maps.csv": "places of the spots drawn in t-SNE and UMAP",
}
"""The tables, and what each holds."""
FIGURES = ("library_size", "spatial", "gene_ranges", "mean_variance", "outliers", "heatmap", "gene_correlation", "tsne", "umap")
"""The figures, each as PNG and SVG."""
NEEDED = ("matplotlib", "sklearn", "umap")


@final
@dataclass(frozen=True, slots=True)
class Description:
    """What was found and written."""

    pooled: Pooled
    """The tissue."""
    genes: pd.DataFrame
    """See `exploration.gene_table`."""
    odd: pd.DataFrame
    """See `exploration.outliers`."""
    pairs: Pairs
    """See `exploration.gene_pairs`."""
    findings: dict[str, str]
    """What each figure shows, by its name."""


def describe(config: Config, out: Path) -> Description:
    """Describe all tissue that a configuration reads, and write tables, figures and an index to `out`.

    Raises:
        DataError: the extra `plots` is not installed, nothing was measured, or `out` holds other files or an input.

    """
    _check_extra()
    own = {INDEX, *TABLES, *(f"{name}.{form}" for name in FIGURES for form in ("png", "svg"))}
    check_folder(out, own.__contains__, "a description", Inputs(configs=(config,)))
    with Progress(total=6, desc="describing", unit="step", leave=False) as steps:
        pooled = exploration.pool(read_sections(config.data), config.panel)
        steps.update()
        genes = exploration.gene_table(pooled)
        if not genes["variance"].any():
            raise DataError(f"{config.data.root}: no gene varies between spots; expected measured values")
        steps.update()
        pairs = exploration.gene_pairs(pooled)
        steps.update()
        scores = exploration_maps.principal(pooled, exploration_figures.most_variable(genes, exploration_maps.VARIABLE))
        distance = exploration_maps.distance(scores, pooled.codes)
        odd = exploration.outliers(pooled, distance)
        steps.update()
        rows = exploration_maps.sample(len(pooled.spots), config.seed)
        places = {"t-SNE": exploration_maps.tsne(scores[rows], config.seed)}
        steps.update()
        places["UMAP"] = exploration_maps.umap(scores[rows], config.seed)
        steps.update()
    sections = exploration.section_table(pooled)
    mixed = exploration_maps.mixing_words(pooled, scores[rows], rows)
    drawings = (
        exploration_figures.library_size(pooled, sections),
        *spatial_map(pooled, odd),
        exploration_figures.gene_ranges(pooled, genes),
        exploration_figures.mean_variance(pooled, genes),
        exploration_figures.odd_spots(pooled, distance, odd),
        exploration_figures.heatmap(pooled, genes, scores, rows),
        exploration_figures.gene_correlation(pooled, genes),
        *(exploration_figures.layout(pooled, name, found, rows, mixed) for name, found in places.items()),
    )
    tables = (sections, genes.sort_values("rank_variance"), odd, pairs.table, _maps(pooled, rows, places))
    with whole(out) as folder:
        folder.mkdir()
        for name, table in zip(TABLES, tables, strict=True):
            words = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
            safe = table.assign(**{str(column): table[column].map(plain_cell, na_action="ignore") for column in words})
            text = marked_csv(safe.to_csv(index=False, float_format="%.6g"))
            (folder / name).write_text(text, encoding="utf-8")
        for drawing in drawings:
            save(drawing, folder)
        (folder / INDEX).write_text(_index(config, pooled, pairs, drawings, len(rows)), encoding="utf-8")
    return Description(pooled, genes, odd, pairs, {drawing.name: drawing.finding for drawing in drawings})


def _maps(pooled: Pooled, rows: np.ndarray, places: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pooled.spots.iloc[rows][["section", "spot"]].reset_index(drop=True)
    for name, found in places.items():
        word = name.lower().replace("-", "")
        table[f"{word}_1"], table[f"{word}_2"] = found[:, 0], found[:, 1]
    return table


def _index(config: Config, pooled: Pooled, pairs: Pairs, drawings: tuple[Drawing, ...], drawn: int) -> str:
    spots = len(pooled.spots)
    part = f"all {spots:,} spots" if drawn == spots else f"{drawn:,} of {spots:,} spots, taken at random"
    return "\n".join(
        [
            f"# {pooled.describe()}",
            "",
            f"**{WARNING}**",
            "",
            f"- tissue: `{config.data.source}` in `{config.data.root}`: {', '.join(pooled.sections)}",
            f"- values: {pooled.scale}; genes that all sections share",
            f"- pairs of genes: {pairs.describe()}",
            f"- principal components: the first {exploration_maps.COMPONENTS}, of the {exploration_maps.VARIABLE:,} genes of "
            f"highest variance; t-SNE, UMAP and the heat map show {part}; seed {config.seed}",
            "",
            "| figure | finding | what is drawn |",
            "| --- | --- | --- |",
            *(f"| [{d.name}]({d.name}.png) ([SVG]({d.name}.svg)) | {_cell(d.finding)} | {_cell(d.what)} |" for d in drawings),
            "",
            "| table | what it holds |",
            "| --- | --- |",
            *(f"| [{name}]({name}) | {_cell(text)} |" for name, text in TABLES.items()),
            "",
            COMMENT,
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _check_extra() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(
            f"bleep data describe draws with {', '.join(missing)}, not installed here: they need the extra plots: "
            "pip install -e '.[plots]' in bleep's clone"
        )
