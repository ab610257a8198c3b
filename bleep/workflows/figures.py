"""Figures of an evaluation, of genes and of labels."""

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float

from bleep import runs
from bleep.data.prediction import SCALE, Prediction
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import ConfigError, DataError
from bleep.evaluation.labels import LabelPrediction
from bleep.evaluation.metrics import interval_scores
from bleep.evaluation.scorecard import correlations
from bleep.files import read_lines, whole
from bleep.predictors import plain
from bleep.predictors.classifier import ClassifierPredictor
from bleep.predictors.saliency import GRID, check_maps, grad_cam, occlusion, shares_regions
from bleep.progress import Progress
from bleep.records import Table
from bleep.retrieval.embed import embed_spots, embed_tiles, without_expression
from bleep.runs import Run
from bleep.viz.figures import Drawing, save
from bleep.viz.figures import labels as figures
from bleep.viz.figures.explanation import HeatView, occlusion_map
from bleep.viz.figures.tissue_maps import gene_map, gene_relations, ranked, variances
from bleep.viz.figures.training import METHODS, coverage, curves, error_by_uncertainty, joint_space
from bleep.viz.page import Cell, Column, Grid, Page, TissueView
from bleep.workflows.explain import spread_rows
from bleep.workflows.labels import COLUMNS, RETRIEVAL, LabelTable, interval_words
from bleep.workflows.opened import Opened
from bleep.workflows.report import (
    HELD_OUT,
    TestSection,
    check_genes,
    held_out_sections,
    measured_genes,
    shared_genes,
    uncertainty_of,
    view_of,
)

log = logging.getLogger(__name__)


def heat_maps(one: TestSection, gene: str, count: int, grid: int = GRID) -> Iterator[Drawing]:
    """Draw what each square of some tiles adds to the prediction of a gene, as the section's own predictor makes it.

    The tiles are evenly spread over the section, whatever their values.
    """
    if shares_regions(one.experiment.predictor):
        log.warning("no occlusion maps: under image.sharing tokens a square that is hidden is seen by neighbouring tiles too")
        return
    tiles = one.run.tiles((one.section,))
    for number, row in enumerate(spread_rows(tiles, count).tolist(), 1):
        found = occlusion(plain(one.experiment.predictor), tiles, row, grid)
        column = found.genes.index(gene)
        view = HeatView(
            id=found.id,
            gene=gene,
            tile=np.array(tiles.read(row)),
            microns=tiles.spec.microns,
            value=float(found.whole[column]),
            change=found.change[:, :, column],
            scale=found.scale,
            predictor=found.predictor,
        )
        yield occlusion_map(view, f"occlusion_{number}")


MAPPED = 4
"""Genes drawn on the tissue when none are named: those of highest training variance, whatever their score."""


def draw_figures(
    experiments: Sequence[Opened],
    table: Table,
    out: Path,
    genes: Sequence[str] = (),
    heat: int = 0,
    *,
    paper: bool = False,
    umap: bool = False,
) -> dict[str, str]:
    """Draw the figures of an evaluation into `out`, and return what each shows, by name.

    Test sections are shown as the first run that held them out predicts them; `genes` are drawn on the tissue. With
    `heat`, so many tiles are drawn too with what each square of them adds to the first gene, which passes each 50 times
    through the trunk. With `umap` the shared space is drawn by UMAP too, whose compiling takes longer than all the rest.
    For a `paper` they come as PDF too, finer and without titles, which `README.md` then has alone.

    Raises:
        ConfigError: the extra `plots` is not installed, or a gene is in no panel.
        DataError: `out` is there already.

    """
    _check_extra(*("umap",) * umap)
    if out.exists():
        raise DataError(f"{out}: is there already; choose another folder for the figures, or remove it")
    check_genes(experiments, genes)
    seen = held_out_sections(experiments)
    chosen = _chosen(seen, genes)
    return _saved(_drawings(seen, table, chosen, heat, METHODS if umap else METHODS[:1]), table, out, paper=paper)


def _saved(drawings: Iterator[Drawing], table: Table | LabelTable, out: Path, *, paper: bool) -> dict[str, str]:
    """Write drawings and a README of their findings to a new folder, and return the findings by name."""
    findings: dict[str, str] = {}
    with whole(out) as temporary:
        temporary.mkdir(parents=True)
        for drawing in Progress(drawings, desc="figures", unit="figure", leave=False):
            save(drawing, temporary, paper=paper)
            findings[drawing.name] = drawing.finding
        lines = [f"- `{name}`: {finding}" for name, finding in findings.items()]
        text = "\n".join([f"# Protocol {table.protocol}", "", f"Leak: {table.leak.status}.", "", *lines, ""])
        (temporary / "README.md").write_text(text, encoding="utf-8")
    return findings


def _drawings(
    seen: Sequence[TestSection], table: Table, chosen: Sequence[str], heat: int, methods: Sequence[str]
) -> Iterator[Drawing]:
    first = seen[0]
    scale = first.run.panel.describe()
    for one in seen:
        view = one.view(chosen)
        for column, gene in enumerate(chosen):
            yield gene_map(view, column, gene, scale, uncertainty_of(one.prediction)[1])
    if heat:
        yield from heat_maps(first, chosen[0], heat)
    scores = correlations(table.cards)
    # A protocol may score a predictor of its own, and not the run's.
    yield ranked(scores, own if (own := first.experiment.predictor.name) in scores else str(table.rows.index[0]))
    genes = measured_genes(seen)
    if genes:
        measured, predicted = _centred(seen, genes, measured=True), _centred(seen, genes, measured=False)
        yield variances(measured, predicted)
        top = [gene for gene in _by_variance(first) if gene in set(genes)]
        yield gene_relations(measured, predicted, genes, np.array([genes.index(gene) for gene in top]))
    yield from _uncertainty(seen)
    if first.experiment.is_ensemble:
        return  # Its runs have a space and a training each.
    if first.run.model.retrieves:
        yield from _space(seen, methods)
    if (kept := first.experiment.folder / runs.LOG).exists():  # A run kept after an epoch (`optim.keep`) has none of its own.
        yield curves(read_lines(kept, "a line of JSON for each epoch"), first.run.facts.epoch)


def _uncertainty(seen: Sequence[TestSection]) -> Iterator[Drawing]:
    # Standard deviations and widths of intervals, or of intervals of other shares, have no axis in common.
    told = [(one, said, (words, _level(one))) for one in seen for said, words in [uncertainty_of(one.prediction)]]
    kind = next((kind for _, said, kind in told if said is not None), None)
    if kind is None:
        return
    pairs = [(one.prediction.expression - one.measured, said) for one, said, own in told if said is not None and own == kind]
    error, said = (np.concatenate([pair[side].ravel() for pair in pairs])[:, None] for side in (0, 1))
    if others := [one.name for one, _, own in told if own != kind]:
        log.warning("error_by_uncertainty: without %s, whose predictions have another uncertainty or none", ", ".join(others))
    yield error_by_uncertainty(error, said, *kind)
    level = next((level for one in seen if (level := _level(one)) is not None), None)
    names, inside = [], []
    for one in seen:
        lower, upper = one.prediction.lower, one.prediction.upper
        if lower is not None and upper is not None and _level(one) == level:
            names.append(one.name)
            inside.append(interval_scores(lower, upper, one.measured).coverage)
    if level is not None and len({len(row) for row in inside}) == 1:
        yield coverage(np.stack(inside), level, tuple(names))


def _level(one: TestSection) -> float | None:
    """Return the share that a section's intervals are to hold; none where it has no intervals."""
    return None if one.prediction.lower is None else one.run.config.query.interval


def _space(seen: Sequence[TestSection], methods: Sequence[str]) -> Iterator[Drawing]:
    """Draw the first run's test tiles and their spots; sections of other runs have other spaces."""
    mine = [one for one in seen if one.experiment is seen[0].experiment]
    run = mine[0].run
    sections = tuple(one.section for one in mine)
    if why := without_expression(run, sections):
        log.warning("the shared space of test tiles and spots is not drawn: %s", why)
        return
    images, expression = embed_tiles(run, run.tiles(sections)).vectors, embed_spots(run, sections).vectors
    names = np.repeat([section.name for section in sections], [len(section) for section in sections])
    labels = {"section": names} if len(sections) > 1 else {}
    for method in methods:
        yield joint_space(images, expression, labels, method, run.config.seed)


def _centred(seen: Sequence[TestSection], genes: Sequence[str], *, measured: bool) -> Float[np.ndarray, "spots genes"]:
    """Return values of all test spots, each section's mean taken off, as scores within sections see them."""
    tables = []
    for one in seen:
        place = {gene: column for column, gene in enumerate(one.run.panel.genes)}
        values = (one.measured if measured else one.prediction.expression)[:, [place[gene] for gene in genes]]
        tables.append(values - values.mean(axis=0, dtype=np.float64))
    return np.concatenate(tables)


def _by_variance(one: TestSection) -> list[str]:
    panel = one.run.panel
    return [panel.genes[column] for column in panel.top(len(panel.genes), "variance").tolist()]


def _chosen(seen: Sequence[TestSection], genes: Sequence[str]) -> tuple[str, ...]:
    shared = shared_genes(seen)
    return tuple(genes) or tuple(gene for gene in _by_variance(seen[0]) if gene in set(shared))[:MAPPED]


def _check_extra(*more: str) -> None:
    for library in ("matplotlib", "sklearn", *more):
        if find_spec(library) is None:
            raise ConfigError(f"figures need {library}, which is not installed: pip install -e '.[plots]' in bleep's clone")


SHOWN = 4
"""Test sections drawn: those of the most tiles among those that have several classes, whatever their scores."""
OWN = (ClassifierPredictor.name, RETRIEVAL)


def draw_label_figures(table: LabelTable, out: Path, tiles: int = 0, *, paper: bool = False) -> dict[str, str]:
    """Draw the figures of an evaluation of labels into `out`, and return what each shows, by name.

    With `tiles`, so many tiles of the first section drawn are shown with their class activation and occlusion maps for the
    last class; they are evenly spread, whatever their values.

    Raises:
        DataError: `out` is there already.
        ConfigError: class activation maps were asked for, and the run's trunk has none (see `grad_cam`).

    """
    if out.exists():
        raise DataError(f"{out}: is there already; choose another folder for the figures, or remove it")
    if tiles:
        check_maps(table.seen[0][0])
    return _saved(_label_drawings(table, tiles), table, out, paper=paper)


def _label_drawings(table: LabelTable, tiles: int) -> Iterator[Drawing]:
    answers = {}
    for name in (*OWN, *(str(name) for name in table.rows.index if name not in OWN)):
        pooled = table.pooled(name)
        answers[name] = pooled.probability, pooled.truth
    yield figures.roc(answers, table.classes)
    yield figures.reliability({name: answers[name] for name in answers if name != "majority class"})
    yield figures.confusions({name: table.confusions[name] for name in OWN}, table.classes)
    shown = _shown(table)
    for run, section, told in shown:
        prediction, measured = _of_section(told, section, run)
        view = view_of(section, prediction, None, measured)
        radius = max(run.spec.microns) / section.mpp / 2 if section.has_positions else view.radius
        yield figures.slide(
            figures.SlideView(
                section.name, view.picture, view.size, view.xy, min(radius, view.radius * 1.09), view.predicted, measured
            ),
            table.classes,
            told.predictor,
        )
    if tiles and shown:
        run, section, _ = shown[0]
        yield _attention(run, section, tiles)


def _attention(run: Run, section: Section, count: int) -> Drawing:
    tiles, column = run.tiles((section,)), len(run.panel.genes) - 1
    label, predictor = run.panel.genes[column], ClassifierPredictor(run)
    truth, widest = np.argmax(run.panel.values(section), axis=1), int(np.argmax(run.spec.microns))
    views = []
    for row in spread_rows(tiles, count).tolist():
        hidden = occlusion(predictor, tiles, row)
        maps = grad_cam(run, tiles, row, column).maps
        views.append(
            figures.TileView(
                hidden.id, np.array(tiles.read(row))[widest], run.panel.genes[int(truth[row])], float(hidden.whole[column]),
                maps[widest], hidden.change[:, :, column],
            )
        )  # fmt: skip
    return figures.attention(views, label, max(run.spec.microns))


def label_page(table: LabelTable) -> Page:
    """Return the page of an evaluation of labels: its table, and test sections with the probability of each class."""
    shown = _shown(table)
    run = table.seen[0][0]
    views: list[TissueView] = []
    for own, section, told in shown:
        prediction, measured = _of_section(told, section, own)
        views.append(view_of(section, prediction, None, measured))
    total = len({section.name for _, divided in table.seen for section in divided.test})
    fewer = f" {len(shown)} of {total} test sections are shown, those of the most tiles with several classes."
    return Page(
        title=f"Protocol {table.protocol}",
        lead=f"Sections {HELD_OUT[run.config.data.split]}: the probability of each class, as “{OWN[0]}” predicts it."
        + (fewer if len(shown) < total else ""),
        genes=table.classes,
        order=tuple(reversed(range(len(table.classes)))),
        scale=SCALE,
        of_classes=True,
        uncertainty="none",
        views=tuple(views),
        table=_grid(table),
        leak=(f"Leak: {table.leak.status}", table.leak.detail),
        facts=table.facts,
        settings=yaml.safe_dump(run.config.dump(), sort_keys=False),
    )


def _grid(table: LabelTable) -> Grid:
    columns = (Column("predictor"), *(Column(name.replace("_", " ")) for name in COLUMNS))
    rows = []
    for place, name in enumerate(map(str, table.rows.index)):
        row = table.rows.iloc[place]
        rows.append((Cell(name, name), *(Cell(interval_words(row, key), round(float(row[key]), 6)) for key in COLUMNS)))
    return Grid(columns, tuple(rows))


def _shown(table: LabelTable) -> list[tuple[Run, Section, LabelPrediction]]:
    """Return the test sections drawn, each with the run of the first seed that held it out and what it says."""
    first = min(run.config.seed for run, _ in table.seen)
    own = [one for one in table.told if (one.predictor, one.seed) == (OWN[0], first)]
    found: list[tuple[Run, Section, LabelPrediction]] = []
    for run, divided in table.seen:
        if run.config.seed == first:
            for section in _mixed(run, divided):
                # Runs may share a fold's number and hold out other sections by name.
                told = next(one for one in own if (one.spots["section"].astype(str) == section.name).any())
                found.append((run, section, told))
    return sorted(found, key=lambda one: (-len(one[1]), one[1].name))[:SHOWN]


def _mixed(run: Run, divided: Split) -> Iterator[Section]:
    """Yield the test sections of several classes, or all where none has."""
    several = [section for section in divided.test if (run.panel.values(section).sum(axis=0) > 0).sum() > 1]
    yield from several or divided.test


def _of_section(told: LabelPrediction, section: Section, run: Run) -> tuple[Prediction, np.ndarray]:
    rows = np.flatnonzero(told.spots["section"].to_numpy(str) == section.name)
    prediction = Prediction(told.probability[rows], told.spots.iloc[rows], run.panel.genes, SCALE, told.predictor)
    return prediction, told.truth[rows]
