"""The model card of a run that is given to others, made from what the run knows."""

from collections.abc import Mapping
from typing import Any

from bleep.data.downloads import set_of
from bleep.evaluation.digits import words_of
from bleep.models.factory import started_from, trunk_licence
from bleep.models.own import called
from bleep.predictors.calibration import Calibration
from bleep.predictors.conformal import coverage_in_words
from bleep.retrieval.reference import Reference
from bleep.runs import Run

UNKNOWN = "unknown"
TRAINED = "training"
"""Origin of the sections of an index that the run was trained on."""
SHOWN = ("pcc", "pcc_hvg50", "mse", "variance_ratio")
"""Scores in the card's table, where they were taken."""
MOST_GENES = 12
"""Genes of a grade that the card names."""


def model_card(
    run: Run, evaluation: Mapping[str, Any], *, reference: Reference | None, calibration: Calibration | None = None
) -> str:
    """Return the card as Markdown with a header for the hub.

    `evaluation` is what `evaluation.json` holds, empty where the run was not scored; `reference`: the measured spots that go
    along, none where they do not; `calibration`: what goes along of how sure the run is, none where it was not calibrated.
    """
    config, facts = run.config, run.facts
    sections = [*facts.train, *facts.val]
    public = set_of(config.data.source, config.data.protocol, [section.name for section in sections])
    patients = sorted({section.patient for section in sections})
    lines = ["---", "library_name: bleep", "license: unknown", "tags:", "- spatial-transcriptomics", "- histology", "---", ""]
    lines += [f"# {config.data.protocol or 'A run of bleep'}", ""]
    told = "classes of tissue" if run.model.classifies else "spatial gene expression"
    lines += [f"Predicts {told} from H&E histology. Research software: not a medical device.", ""]
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
            "patients": f"{len(patients)}: {', '.join(patients)}",
            "sections": ", ".join(f"{s.name} ({s.spots} spots)" for s in sections),
            "tiles": f"{', '.join(f'{side:g}' for side in config.tiles.microns)} microns in {config.tiles.pixels} pixels",
        }
    )
    lines += ["", "## Model", ""]
    own = "classification" if run.model.classifies else "regression"
    reads = [*([] if reference is None else ["retrieval"]), *([own] if run.model.regresses or run.model.classifies else [])]
    what = "classes" if run.model.classifies else "genes"
    by = " and ".join(reads)
    if calibration is not None:
        by = f"{' and '.join(calibration.stacker.needed)}, combined; {by} can be asked for"
    lines += _list(
        {
            "trunk": f"{called(facts.trunk)}, {config.image.train}",
            "licence of the trunk's weights": trunk_licence(facts.trunk, started_from(config.image)),
            "task": config.loss.task,
            "predicts by": by,
            **_held(reference),
            what: f"{len(run.panel.genes)}: {', '.join(run.panel.genes[:10])}{', ...' if len(run.panel.genes) > 10 else ''}",
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


def _held(reference: Reference | None) -> dict[str, str]:
    """Return whose measured values go along in the index, and what of it was not trained on."""
    if reference is None:
        return {"index": "none; the measured training spots are not included"}
    sections = reference.manifest["sections"]
    told = {"index": f"{len(reference)} measured spots go along, of {', '.join(str(one['name']) for one in sections)}"}
    later = [
        f"{s['name']} ({s['spots']} spots, patient {s['patient']}, {s['origin']})" for s in sections if s["origin"] != TRAINED
    ]
    return told | (
        {"in the index beyond what was trained on": f"{', '.join(later)}; scores may be without it"} if later else {}
    )


def _trust(run: Run, calibration: Calibration | None) -> list[str]:
    """Return what rehearsals on left-out training tissue found: scores, intervals and genes."""
    if calibration is None:
        return [f"- intervals, genes to trust, how far it travels: {UNKNOWN}; no calibration goes along"]
    report, confidence = calibration.report, calibration.confidence
    told = report["scores"].get("combined")
    lines = [f"- rehearsed on: {report.get('rehearsed on', UNKNOWN)}"]
    lines += [] if told is None else [f"- rehearsed score, mean PCC of the combined predictor: {told:.3f}"]
    lines.append(f"- {coverage_in_words(report['coverage'])}")
    if confidence is not None:
        table = confidence.frame(run.panel.genes)
        for grade, count in confidence.summary().items():
            best = table[table["confidence"] == grade].nlargest(MOST_GENES, "expected_pcc").index
            lines.append(f"- genes graded {grade}: {count}" + (f", such as {', '.join(map(str, best))}" if len(best) else ""))
    return lines


def _list(facts: Mapping[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in facts.items()]


def _scores(run: Run, evaluation: Mapping[str, Any]) -> list[str]:
    leak, held = run.facts.leak, ", ".join(run.facts.test) or "nothing"
    lines = [f"- held out: {held}, by {run.facts.by}", f"- leak: {leak.status} ({leak.detail})"]
    rows = evaluation.get("predictors") or {}
    if not rows:
        return [*lines, f"- scores: {UNKNOWN}; the run was not evaluated"]
    shown = evaluation.get("scores", {}) if run.model.classifies else SHOWN
    names = [name for name in shown if any(row.get(name) is not None for row in rows.values())]
    lines += [f"- protocol: {evaluation.get('protocol') or UNKNOWN}", ""]
    lines += [f"| predictor | {' | '.join(names)} |", f"| --- | {' | '.join(['---:'] * len(names))} |"]
    for predictor, row in rows.items():
        values = [words_of(name, float(row[name])) if isinstance(row.get(name), int | float) else "-" for name in names]
        lines.append(f"| {predictor} | {' | '.join(values)} |")
    return lines
