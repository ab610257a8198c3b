"""A run's model card: facts of the run, and `unknown` for what nobody has said."""

from collections.abc import Mapping
from typing import Any

from bleep.runs import Run

UNKNOWN = "unknown"
SHOWN = ("pcc", "hvg50", "mse", "variance_ratio")
"""Scores in the card's table, where they were taken."""


def model_card(run: Run, evaluation: Mapping[str, Any], *, reference: bool) -> str:
    """Return the card as Markdown with a header for the hub.

    `evaluation` is what `evaluation.json` holds, empty where the run was not scored; `reference`: whether the measured spots
    go along.
    """
    config, facts = run.config, run.facts
    sections = [*facts.train, *facts.val]
    own = sorted({section.patient for section in sections})
    lines = ["---", "library_name: bleep", "license: unknown", "tags:", "- spatial-transcriptomics", "- histology", "---", ""]
    lines += [f"# {config.data.protocol or 'A run of bleep'}", ""]
    lines += ["Predicts spatial gene expression from H&E histology. Research software: not a medical device.", ""]
    lines += ["## Trained on", ""]
    lines += _list(
        {
            "species": run.panel.species,
            "organ": UNKNOWN,
            "technology": f"form `{config.data.source}`",
            "licence of the tissue": UNKNOWN,
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
            "trunk": f"{facts.trunk}, {config.image.train}; its weights have a licence of their own: {UNKNOWN}",
            "task": config.loss.task,
            "predicts by": f"{' and '.join(reads)} ({measured})",
            "genes": f"{len(run.panel.genes)}: {', '.join(run.panel.genes[:10])}{', ...' if len(run.panel.genes) > 10 else ''}",
            "values": run.panel.words(),
            "made by": f"bleep {facts.version}; weights sha256 {run.weights_digest()[:16]}",
        }
    )
    lines += ["", "## Scores on held-out tissue", "", *_scores(run, evaluation)]
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
