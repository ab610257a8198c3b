"""From runs that learnt labels to the figures and the page of their evaluation."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import DataError
from bleep.files import whole
from bleep.predictors.classifier import SCALE, ClassifierPredictor
from bleep.predictors.grad_cam import check_maps, grad_cam
from bleep.predictors.occlusion import occlusion
from bleep.progress import Progress
from bleep.runs import Run
from bleep.viz.figures import labels as figures
from bleep.viz.figures.style import Drawing, save
from bleep.viz.page import Cell, Column, Grid, Page, TissueView
from bleep.workflows.explain import spread_rows
from bleep.workflows.labels import COLUMNS, RETRIEVAL, LabelPrediction, LabelTable, interval_words
from bleep.workflows.report import HELD_OUT, view_of

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
    findings: dict[str, str] = {}
    with whole(out) as temporary:
        temporary.mkdir(parents=True)
        for drawing in Progress(_drawings(table, tiles), desc="figures", unit="figure", leave=False):
            save(drawing, temporary, paper=paper)
            findings[drawing.name] = drawing.finding
        lines = [f"- `{name}`: {finding}" for name, finding in findings.items()]
        text = "\n".join([f"# Protocol {table.protocol}", "", f"Leak: {table.leak.status}.", "", *lines, ""])
        (temporary / "README.md").write_text(text, encoding="utf-8")
    return findings


def _drawings(table: LabelTable, tiles: int) -> Iterator[Drawing]:
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
