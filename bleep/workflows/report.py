"""A comparison, or a prediction, as one page to look at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import yaml
from jaxtyping import Float, Float32, UInt8

from bleep.data.prediction import Prediction
from bleep.data.qc.values import measured_beside
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide, overview, resize
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, MismatchError
from bleep.models.own import called
from bleep.predictors import Predictor
from bleep.predictors.conformal import grades_of, in_words
from bleep.records import Table
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.viz.page import Nearest, Page, TissueView
from bleep.workflows.opened import FLOOR, Opened
from bleep.workflows.page_words import grid_of, leaks, partial

PICTURE = 1400
"""Pixels of the longer side of a section's picture."""
CELL = 40
"""Pixels of a ready-cut tile, where tiles are all the picture there is; fewer where there are many."""
MONTAGE = 4000
"""Pixels of a side of all ready-cut tiles together, at most."""
HELD_OUT = {
    "patient": "of patients that training did not see",
    "section": "which training did not see",
    "block": "of which training saw the other blocks",
    "random": "of which training saw other spots, between those shown",
    "none": "which training saw",
}
"""What is true of a test section, by what was held out."""
OTHERS = 5
"""Predictions beside the run's own, at most: each takes room that genes could have."""
NEIGHBOURS = 20
"""Of each spot, at most; the neighbour table has them all."""


@final
@dataclass(frozen=True, slots=True)
class TestSection:
    """One held-out section, and what a run that never saw it predicts there."""

    experiment: Opened
    section: Section
    prediction: Prediction
    """By the run's own predictor."""
    measured: Float32[np.ndarray, "spots genes"]
    name: str = ""
    """The section's; with its run where several runs held out parts of it."""

    @property
    def run(self) -> Run:
        """The run that predicted."""
        return self.experiment.run

    def view(self, genes: Sequence[str], others: Mapping[str, Prediction] | None = None, told: str = "") -> TissueView:
        """Return what drawing it needs, of these genes of its panel, beside what others predict of the same spots.

        With `told`, uncertainty of another kind is left out.
        """
        place = {gene: column for column, gene in enumerate(self.run.panel.genes)}
        columns = [place[gene] for gene in genes]
        whole = view_of(self.section, self.prediction, self.experiment.reference, self.measured)
        changes: dict[str, Any] = {name: values[:, columns] for name, values in whole.layers().items()}
        beside = {name: _columns(prediction, genes) for name, prediction in (others or {}).items()}
        changes |= {"uncertainty": None} if told not in ("", uncertainty_of(self.prediction)[1]) else {}
        return replace(whole, **changes, section=self.name, predictor=self.experiment.predictor.name, others=beside)


def held_out_sections(experiments: Sequence[Opened]) -> list[TestSection]:
    """Return each section, or part of one, that the runs held out, once, as the first run that held it out predicts it.

    Raises:
        DataError: a contrastive run has no index.
        MismatchError: its index or calibration belongs to another run.

    """
    found: list[TestSection] = []
    for experiment in experiments:
        for section in experiment.split.test:
            if not any(_is_same(section, one.section) for one in found):
                prediction = experiment.predictor.predict(experiment.tiles((section,)))
                measured = experiment.run.panel.values(section, experiment.run.config.panel.absent)
                found.append(TestSection(experiment, section, prediction, measured, section.name))
    names = [one.name for one in found]
    parts = [f"{one.name} of {_name_of(one.experiment, experiments)}" for one in found]
    return [replace(one, name=part) if names.count(one.name) > 1 else one for one, part in zip(found, parts, strict=True)]


def _columns(prediction: Prediction, genes: Sequence[str]) -> Float32[np.ndarray, "spots genes"]:
    """Return these genes of a prediction; those that are not in it are not numbers."""
    place = {gene: column for column, gene in enumerate(prediction.genes)}
    found = np.full((len(prediction.expression), len(genes)), np.nan, np.float32)
    known = [number for number, gene in enumerate(genes) if gene in place]
    found[:, known] = prediction.expression[:, [place[genes[number]] for number in known]]
    return found


def _others(one: TestSection, experiments: Sequence[Opened]) -> dict[str, Prediction]:
    """Return what else predicts a held-out section: other runs that held it out, other predictors of each, and ridge.

    At most `OTHERS`, the runs' own predictors first.
    """
    held = [each for each in experiments if any(_is_same(section, one.section) for section in each.split.test)]
    names = {id(each): f" of {_name_of(each, held)}" if len(held) > 1 else "" for each in held}
    own = [(f"{each.predictor.name}{names[id(each)]}", each.predictor, each) for each in held if each is not one.experiment]
    more = [
        (f"{name}{names[id(each)]}", predictor, each)
        for each in held
        for name, predictor in (*list(each.predictors().items())[1:], *_floor(each, one.experiment))
    ]
    chosen = [*own, *more][:OTHERS]
    tiles = {id(each): each.tiles((_same(one.section, each),)) for _, _, each in chosen}
    return {name: predictor.predict(tiles[id(each)]) for name, predictor, each in chosen}


def _floor(each: Opened, first: Opened) -> list[tuple[str, Predictor]]:
    """Return the baseline that stands beside the others: ridge, of the first run, since all runs have nearly the same."""
    return [(name, predictor) for name, predictor in each.baselines().items() if name == FLOOR and each is first]


def _same(section: Section, experiment: Opened) -> Section:
    """Return the section as an experiment has it, whose predictions of it are remembered."""
    return next(one for one in experiment.split.test if _is_same(one, section))


def _is_same(one: Section, other: Section) -> bool:
    return one is other or (one.name == other.name and one.ids == other.ids)


def _name_of(experiment: Opened, among: Sequence[Opened]) -> str:
    """Return the name of a run's folder, or its path where two are called alike."""
    alike = [each for each in among if each.folder.name == experiment.folder.name]
    return experiment.folder.name if len(alike) == 1 else str(experiment.folder)


def views_of(tiles: Tiles, prediction: Prediction, reference: Reference | None, run: Run) -> tuple[TissueView, ...]:
    """Return a view of each section of a prediction; what was measured is there where it is all of the panel, on its scale.

    Of a prediction of some genes alone, what was measured is of these.
    """
    views, start = [], 0
    columns = _in_panel(run, prediction)
    for section in tiles.sections:
        here = prediction[start : start + len(section)]
        start += len(section)
        measured = measured_beside(section, run.panel)
        views.append(view_of(section, here, reference, None if measured is None else measured[:, columns]))
    return tuple(views)


def _in_panel(run: Run, prediction: Prediction) -> list[int]:
    place = {gene: column for column, gene in enumerate(run.panel.genes)}
    return [place[gene] for gene in prediction.genes]


def view_of(
    section: Section,
    prediction: Prediction,
    reference: Reference | None,
    measured: Float32[np.ndarray, "measured_spots genes"] | None,
) -> TissueView:
    """Return what drawing a section's prediction needs."""
    picture, size, xy, radius = _laid_out(section)
    return TissueView(
        section.name, picture, size, xy, radius, section.ids, prediction.expression, measured, uncertainty_of(prediction)[0],
        None if reference is None else _nearest(prediction, reference), section.mpp if section.has_positions else 0.0,
        prediction.spots["familiarity"].to_numpy(np.float32) if "familiarity" in prediction.spots else None,
    )  # fmt: skip


def uncertainty_of(prediction: Prediction) -> tuple[Float32[np.ndarray, "spots genes"] | None, str]:
    """Return how sure a prediction says it is, and in words what that is."""
    if prediction.lower is not None and prediction.upper is not None:
        return (prediction.upper - prediction.lower) / 2, "half the width of the interval"
    return prediction.spread, "none" if prediction.spread is None else "standard deviation over the neighbours"


def shared_genes(seen: Sequence[TestSection]) -> tuple[str, ...]:
    """Return the genes that are in the panels of all, in the order of the first."""
    common = set.intersection(*(set(one.run.panel.genes) for one in seen))
    return tuple(gene for gene in seen[0].run.panel.genes if gene in common)


def check_genes(experiments: Sequence[Opened], genes: Sequence[str]) -> None:
    """Refuse genes that cannot be drawn, before anything is scored.

    Raises:
        ConfigError: a gene is not in the panel of every run.

    """
    panels = [set(experiment.run.panel.genes) for experiment in experiments]
    for gene in genes:
        if not all(gene in panel for panel in panels):
            shared = len(set.intersection(*panels))
            raise ConfigError(f"--genes: {gene} is not in the panel of every run, which share {shared} genes")


def measured_genes(seen: Sequence[TestSection]) -> tuple[str, ...]:
    """Return the genes that all test sections have measured; one that a section does not list is no number there."""
    known = [dict(zip(one.run.panel.genes, np.isfinite(one.measured).all(axis=0).tolist(), strict=True)) for one in seen]
    return tuple(gene for gene in shared_genes(seen) if all(there[gene] for there in known))


def _laid_out(
    section: Section,
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[float, float], Float[np.ndarray, "spots 2"], float]:
    """Return a picture, the size it stands for, the places of the spots on it, and the radius they are drawn with."""
    slide = section.slide
    if isinstance(slide, MosaicSlide):
        return _montage(section, slide)
    width, height = slide.size
    apart = pitch if (pitch := section.pitch()) < math.inf else min(width, height) / 20
    return overview(slide, PICTURE), (float(width), float(height)), section.xy, apart * 0.46


def _montage(
    section: Section, slide: MosaicSlide
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[float, float], Float[np.ndarray, "spots 2"], float]:
    """Lay ready-cut tiles out in rows, since nobody knows where on the tissue they lie."""
    columns = math.ceil(math.sqrt(len(section)))
    rows = math.ceil(len(section) / columns)
    cell = max(min(CELL, MONTAGE // columns), 1)
    picture = np.full((rows * cell, columns * cell, 3), 255, np.uint8)
    places = np.empty((len(section), 2))
    for number, (x, y) in enumerate(section.xy.tolist()):
        row, column = divmod(number, columns)
        tile = slide.region(round(x - slide.side / 2), round(y - slide.side / 2), slide.side, "white")
        picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = resize(tile, cell)
        places[number] = (column + 0.5) * cell, (row + 0.5) * cell
    return picture, (float(columns * cell), float(rows * cell)), places, cell * 0.2


def _nearest(prediction: Prediction, reference: Reference) -> Nearest | None:
    if prediction.neighbors is None or prediction.weights is None:
        return None
    names = tuple(map(str, reference.spots.index))
    similarity, rows = prediction.neighbors.similarity[:, :NEIGHBOURS], prediction.neighbors.rows[:, :NEIGHBOURS]
    return Nearest(names, rows, similarity, prediction.weights[:, :NEIGHBOURS])


def evaluation_page(experiments: Sequence[Opened], table: Table) -> Page:
    """Return the page of a comparison: its table, and each test section as the first run that held it out predicts it.

    Raises:
        DataError, MismatchError: as `evaluate`.

    """
    seen = held_out_sections(experiments)
    first, genes = seen[0], shared_genes(seen)
    names = f"Section{'s' if len(seen) > 1 else ''} {', '.join(one.name for one in seen)}"
    if not genes:
        raise MismatchError(
            f"the runs {', '.join(str(one.experiment.folder) for one in seen)} share no gene, so there is none to show; "
            "report them apart"
        )
    told = next((words for one in seen if (words := uncertainty_of(one.prediction)[1]) != "none"), "none")
    some = any(len(genes) < len(one.run.panel.genes) for one in seen)
    fewer = f" The {len(genes)} genes shown are those that all runs chose." if some else ""
    return Page(
        title=f"Protocol {table.protocol}",
        lead=f"{names}, {_held_out(seen)}, as predicted by “{first.experiment.predictor.name}”.{fewer}",
        genes=genes,
        order=_order(first.run, genes),
        scale=first.run.panel.describe(),
        uncertainty=told,
        views=tuple(one.view(genes, _others(one, experiments), told) for one in seen),
        table=grid_of(table),
        leak=(f"Leak: {table.leak.status}", *leaks(table), *partial(table)),
        facts=table.facts,
        settings=yaml.safe_dump(first.run.config.dump(), sort_keys=False),
        trust=in_words(first.prediction.confidence),
        grades=grades_of(first.prediction.confidence),
        whose="that all runs chose" if some else "of the panel",
    )


def query_page(run: Run, tiles: Tiles, prediction: Prediction, reference: Reference | None, *, deep_zoom: bool = False) -> Page:
    """Return the page of a prediction; what was measured stands beside it where it is all of the panel, on its scale.

    Of a prediction of some genes alone, `prediction[:, columns]`, the page has these and says so.
    With `deep_zoom`, slides of more pixels than a picture of the page shows can be looked into by tiles.
    """
    views = views_of(tiles, prediction, reference, run)
    if deep_zoom:
        views = tuple(
            replace(view, slide=section.slide) if max(view.size) > 2 * PICTURE and section.has_positions else view
            for view, section in zip(views, tiles.sections, strict=True)
        )
    what, predicted = ("classes", "labels") if run.model.classifies else ("genes", "expression")
    written, known = len(prediction.genes), len(run.panel.genes)
    count = f"{written} {what}" if written == known else f"{written} of the {known} {what} of the run"
    return Page(
        title=f"Predicted {predicted} of {', '.join(section.name for section in tiles.sections)}",
        lead=f"{len(tiles)} tiles, {count}, by {prediction.predictor}.",
        of_classes=run.model.classifies,
        genes=prediction.genes,
        order=_order(run, prediction.genes),
        scale=prediction.scale,
        uncertainty=uncertainty_of(prediction)[1],
        views=views,
        facts={"trained on": ", ".join(facts.name for facts in run.facts.train), "trunk": called(run.facts.trunk)},
        settings=yaml.safe_dump(run.config.dump(), sort_keys=False),
        trust=in_words(prediction.confidence),
        grades=grades_of(prediction.confidence),
        whose="of the panel" if written == known else "that were asked for",
    )


def _held_out(seen: Sequence[TestSection]) -> str:
    """Say what training saw of the test sections, as the split was."""
    return "; ".join(HELD_OUT[kind] for kind in dict.fromkeys(one.run.config.data.split for one in seen))


def _order(run: Run, genes: Sequence[str]) -> tuple[int, ...]:
    """Return the columns of some genes of the panel by their variance in the training spots, the largest first."""
    place = {gene: column for column, gene in enumerate(genes)}
    ranked = (run.panel.genes[column] for column in run.panel.top(len(run.panel.genes), "variance").tolist())
    return tuple(place[gene] for gene in ranked if gene in place)
