"""A comparison, or a prediction, as one page to look at."""

import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from bleep.errors import MismatchError
from bleep.evaluation.page import Cell, Column, Grid, Page
from bleep.evaluation.report import HEADINGS
from bleep.evaluation.scorecard import SCORES
from bleep.pipeline.seeing import Seen, seen_sections, shared_genes, uncertainty_of, views_of
from bleep.prediction.reference import Reference
from bleep.records import LeakReport, Prediction, Table
from bleep.runs import Run
from bleep.tissue.tiles import Tiles


def evaluation_page(folders: Sequence[str | Path], table: Table) -> Page:
    """Return the page of a comparison: its table, and each test section as the first run that held it out predicts it.

    Raises:
        DataError, MismatchError: as `evaluate`.

    """
    seen = list(seen_sections(folders))
    first = seen[0]
    genes = shared_genes(seen)
    if not genes:
        raise MismatchError(
            f"the runs {', '.join(str(one.folder) for one in seen)} share no gene, so there is none to show; report them apart"
        )
    fewer = f" The {len(genes)} genes shown are those that all runs chose." if len(genes) < len(first.run.panel.genes) else ""
    return Page(
        title=f"Protocol {table.protocol}",
        lead=f"{_sections(seen)}, which training did not see, as “{first.predictor.name}” predicts it.{fewer}",
        genes=genes,
        order=_order(first.run, genes),
        scale=first.run.panel.words(),
        uncertainty=uncertainty_of(first.prediction)[1],
        views=tuple(one.view(genes) for one in seen),
        table=_grid(table),
        leak=(f"Leak: {table.leak.status}", table.leak.detail, *_leaks(table.leaks)),
        facts=table.facts,
        settings=yaml.safe_dump(first.run.config.dump(), sort_keys=False),
    )


def query_page(run: Run, tiles: Tiles, prediction: Prediction, reference: Reference | None) -> Page:
    """Return the page of a prediction; what was measured stands beside it where the tissue comes with all of the panel."""
    return Page(
        title=f"Predicted expression of {', '.join(section.name for section in tiles.sections)}",
        lead=f"{len(tiles)} tiles, {len(prediction.genes)} genes, by {prediction.predictor}.",
        genes=prediction.genes,
        order=_order(run, prediction.genes),
        scale=prediction.scale,
        uncertainty=uncertainty_of(prediction)[1],
        views=views_of(tiles, prediction, reference, run),
        facts={"trained on": ", ".join(facts.name for facts in run.facts.train), "trunk": run.facts.trunk},
        settings=yaml.safe_dump(run.config.dump(), sort_keys=False),
    )


def _sections(seen: Sequence[Seen]) -> str:
    names = ", ".join(one.section.name for one in seen)
    return f"Section{'s' if len(seen) > 1 else ''} {names}"


def _leaks(reports: Sequence[LeakReport]) -> list[str]:
    """Return the findings of all runs, each once, then what was fitted on which sections, by the first run."""
    findings = dict.fromkeys(f"{found.severity}: {found.detail}" for report in reports for found in report.findings)
    fitted = [
        f"{one.what}: {', '.join(one.sections) or 'no section'}" + (f" ({one.detail})" if one.detail else "")
        for one in (reports[0].fitted if reports else ())
    ]
    return [*findings, *fitted]


def _order(run: Run, genes: Sequence[str]) -> tuple[int, ...]:
    """Return the columns of some genes of the panel by their variance in the training spots, the largest first."""
    place = {gene: column for column, gene in enumerate(genes)}
    ranked = (run.panel.genes[column] for column in run.panel.top(len(run.panel.genes), "variance").tolist())
    return tuple(place[gene] for gene in ranked if gene in place)


def _grid(table: Table) -> Grid:
    scores = [name for name in HEADINGS if name in table.rows]
    columns = (Column("predictor"), *(Column(HEADINGS[name], SCORES[name]) for name in scores))
    rows = tuple(
        (Cell(str(predictor), str(predictor)), *(_cell(row[name], row[f"{name}_sd"]) for name in scores))
        for predictor, row in table.rows.iterrows()
    )
    return Grid(columns, rows)


def _cell(value: float, spread: float) -> Cell:
    text = f"{value:.3f}" if math.isnan(spread) else f"{value:.3f} ± {spread:.3f}"
    return Cell("no value", math.nan) if math.isnan(value) else Cell(text, round(float(value), 6))
