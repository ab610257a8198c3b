"""The model card of a run: what it was made of, what it scored, and how far it can be trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bleep.data.downloads import SETS, PublicSet
from bleep.models.backbones import GIVEN
from bleep.models.factory import JOIN, licence_of, started_from
from bleep.models.image import READY
from bleep.predictors.calibration import Calibration
from bleep.runs import Run

UNKNOWN = "unknown"
SHOWN = ("pcc", "hvg50", "mse", "variance_ratio")
"""Scores in the card's table, where they were taken."""
MOST_GENES = 12
"""Genes of a grade that the card names."""


def model_card(run: Run, evaluation: Mapping[str, Any], *, reference: bool, calibration: Calibration | None = None) -> str:
    """Return the card as Markdown with a header for the hub.

    `evaluation` is what `evaluation.json` holds, empty where the run was not scored; `reference`: whether the measured spots
    go along; `calibration`: what goes along of how sure the run is, none where it was not calibrated.
    """
    config, facts = run.config, run.facts
    sections = [*facts.train, *facts.val]
    public = _public(run)
    own = sorted({section.patient for section in sections})
    lines = ["---", "library_name: bleep", "license: unknown", "tags:", "- spatial-transcriptomics", "- histology", "---", ""]
    lines += [f"# {config.data.protocol or 'A run of bleep'}", ""]
    lines += ["Predicts spatial gene expression from H&E histology. Research software: not a medical device.", ""]
    lines += ["## Intended use", ""]
    lines += [
        "Research on H&E of the species and kind of tissue below, at the scale below. Look at the scores beside the floors"
        f"{'' if calibration is None else ', and trust no gene beyond its grade'}.",
        "",
    ]
    lines += ["## Trained on", ""]
    lines += _list(
        {
            "species": run.panel.species,
            "organ": UNKNOWN if public is None else public.title,
            "technology": f"form `{config.data.source}`",
            "licence of the tissue": UNKNOWN if public is None else f"{public.licence}; cite {public.citation}",
            "patients": f"{len(own)}: {', '.join(own)}",
            "sections": ", ".join(f"{s.name} ({s.spots} spots)" for s in sections),
            "tiles": f"{', '.join(f'{side:g}' for side in config.tiles.microns)} microns in {config.tiles.pixels} pixels",
        }
    )
    lines += ["", "## Model", ""]
    reads = [*(["retrieval"] if reference else []), *(["regression"] if run.model.regresses else [])]
    measured = "the measured training spots go along" if reference else "the measured training spots are not included"
    lines += _list(
        {
            "trunk": f"{facts.trunk}, {config.image.train}",
            "licence of the trunk's weights": trunk_licence(facts.trunk, started_from(config.image)),
            "task": config.loss.task,
            "predicts by": f"{' and '.join(reads)} ({measured})",
            "genes": f"{len(run.panel.genes)}: {', '.join(run.panel.genes[:10])}{', ...' if len(run.panel.genes) > 10 else ''}",
            "values": run.panel.describe(),
            "made by": f"bleep {facts.version}; weights sha256 {run.weights_digest()[:16]}",
        }
    )
    lines += ["", "## Scores on held-out tissue", "", *_scores(run, evaluation)]
    lines += ["", "## How sure it is", "", *_trust(run, calibration)]
    lines += ["", "## Limits", ""]
    lines += [
        "- Predictions are on the scale above, not counts. Averages of neighbours are smoother than what is measured.",
        "- A score holds for its protocol. On other patients, laboratories and scanners it is usually lower.",
        "- Tissue of another species is refused; of another organ or stain it is not. A calibrated run marks unlike tiles.",
        "- Must not guide treatment.",
    ]
    lines += ["", "## Citation", ""]
    lines += [
        "Xie R. et al. Spatially Resolved Gene Expression Prediction from H&E Histology Images via Bi-modal Contrastive "
        "Learning. NeurIPS 2023."
    ]
    return "\n".join(lines) + "\n"


def _public(run: Run) -> PublicSet | None:
    """Return the public set that all training sections are of, by their names and the recipe's; none where they are not."""
    protocol = run.config.data.protocol
    found = next((one for one in SETS.values() if protocol in one.recipes and run.config.data.source == one.source), None)
    if found is None:
        return None
    pinned = [Path(local).name for local in found.pins()]
    names = [section.name for section in (*run.facts.train, *run.facts.val)]
    return found if all(any(name in local for local in pinned) for name in names) else None


def trunk_licence(names: str, weights: Sequence[str]) -> str:
    """Return under what terms the weights that training began with are, trunk by trunk, as far as bleep and timm know."""
    said = []
    for name, source in zip(names.split(JOIN), weights, strict=False):
        published = licence_of(name) or UNKNOWN
        if name.startswith((GIVEN, f"{READY}:")):
            said.append(f"{name}: {UNKNOWN}")
        elif source == "random":
            said.append(f"{name}: none, it began with random weights")
        elif source == "hub":
            said.append(f"{name}: {published}")
        else:
            said.append(f"{name}: {UNKNOWN}, its weights came from a file (those published by that name: {published})")
    return "; ".join(said)


def _trust(run: Run, calibration: Calibration | None) -> list[str]:
    """Return what rehearsals on left-out training tissue found: scores, intervals and genes."""
    if calibration is None:
        return [f"- intervals, genes to trust, how far it travels: {UNKNOWN}; no calibration goes along"]
    report, confidence = calibration.report, calibration.confidence
    covered, told = report["coverage"], report["scores"].get("combined")
    lines = [f"- rehearsed on: {report.get('rehearsed on', UNKNOWN)}"]
    lines += [] if told is None else [f"- rehearsed score, mean PCC of the combined predictor: {told:.3f}"]
    lines.append(
        f"- intervals of {covered['level']:.0%} held {covered['mean']:.0%} of left-out values, {covered['least']:.0%} to "
        f"{covered['most']:.0%} by part"
    )
    if confidence is not None:
        table = confidence.frame(run.panel.genes)
        for grade, count in confidence.summary().items():
            best = table[table["confidence"] == grade].nlargest(MOST_GENES, "expected_pcc").index
            lines.append(f"- genes graded {grade}: {count}" + (f", such as {', '.join(map(str, best))}" if len(best) else ""))
    return lines


def _list(facts: Mapping[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in facts.items()]


def _scores(run: Run, evaluation: Mapping[str, Any]) -> list[str]:
    leak = run.facts.leak
    held = ", ".join(run.facts.test) or "nothing"
    lines = [f"- held out: {held}, by {run.facts.by}", f"- leak: {leak.status} ({leak.detail})"]
    rows = evaluation.get("predictors") or {}
    if not rows:
        return [*lines, f"- scores: {UNKNOWN}; the run was not evaluated"]
    names = [name for name in SHOWN if any(row.get(name) is not None for row in rows.values())]
    lines += [f"- protocol: {evaluation.get('protocol') or UNKNOWN}", ""]
    lines += [f"| predictor | {' | '.join(names)} |", f"| --- | {' | '.join(['---:'] * len(names))} |"]
    for predictor, row in rows.items():
        values = [f"{row[name]:.3f}" if isinstance(row.get(name), int | float) else "-" for name in names]
        lines.append(f"| {predictor} | {' | '.join(values)} |")
    return lines
