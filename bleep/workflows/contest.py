"""The contest's score of a submission, or of what runs predict for the tissue they held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from bleep.config import AbsentName
from bleep.contest import CONSTANTS, FORMULA, PARTS, ContestScore, ContestTable, GeneLists, contest_score
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import DataError, MismatchError
from bleep.evaluation.protocols import named
from bleep.files import write_json
from bleep.marks import KEY, MARK
from bleep.runs import Run
from bleep.workflows.opened import Opened, opened
from bleep.workflows.unseen import check_unseen, worst_leak

FILE = "contest.json"
"""Name of what `save` writes."""


@final
@dataclass(frozen=True, slots=True)
class ContestScores:
    """Contest scores side by side, with what they were taken over."""

    scores: Mapping[str, ContestScore]
    """By name of the submission, or of run and predictor."""
    best_genes: Mapping[str, str]
    """The gene of the part `best_gene`, by the same names."""
    samples: int
    genes: int
    lists: GeneLists
    leak: str = ""
    """What training shared with the samples, where that is known."""

    def as_text(self) -> str:
        """Return the table for a terminal: the four parts apart, and the rules."""
        width = max(len(name) for name in (*self.scores, "predictor"))
        head = f"{'predictor':<{width}}" + "".join(f"{name:>11}" for name in ("score", *PARTS))
        lines = [
            f"{name:<{width}}{score.total:>11.4f}" + "".join(f"{score.parts[part]:>11.4f}" for part in PARTS)
            for name, score in sorted(self.scores.items(), key=lambda item: -item[1].total)
        ]
        first = next(iter(self.scores.values()))
        leak = [f"leak: {self.leak}"] if self.leak else []
        return "\n".join(
            [
                f"protocol dacon, hash {named('dacon').digest()}: {FORMULA}",
                *leak,
                "",
                head,
                "-" * len(head),
                *lines,
                "",
                f"over {self.samples} samples and {self.genes} genes",
                f"lists: {self.lists.describe()}",
                *(f"{name}: {meaning}" for name, meaning in PARTS.items()),
                f"constants: {CONSTANTS} ({first.skipped[0]} samples, {first.skipped[1]} genes here)",
            ]
        )

    def save(self, folder: Path) -> Path:
        """Write the same as JSON, and return the file."""
        scores: dict[str, Any] = {
            name: {"score": score.total, **score.parts, "gene": self.best_genes[name]} for name, score in self.scores.items()
        }
        plain = {
            KEY: MARK,
            "protocol": "dacon",
            "hash": named("dacon").digest(),
            "formula": FORMULA,
            "parts": dict(PARTS),
            "lists": self.lists.describe(),
            "constants": CONSTANTS,
            "leak": self.leak,
            "samples": self.samples,
            "genes": self.genes,
            "scores": scores,
        }
        write_json(folder / FILE, plain)
        return folder / FILE


def score_submission(submission: Path, truth: Path, train: Path, top: int) -> ContestScores:
    """Score a submission against the truth, with gene lists chosen on the contest's training table.

    Raises:
        DataError: a file is no table of its kind.
        MismatchError: the submission lacks IDs or genes of the truth, has more, or has them in another order.

    """
    found, expected = ContestTable.read(submission), ContestTable.read(truth)
    found.check_same(expected)
    training = ContestTable.read(train).columns(expected.genes)
    lists = GeneLists.of(training.mean(axis=0), training.var(axis=0), top, f"over the {len(training)} samples of {train}")
    score = contest_score(found.values, expected.values, lists)
    best = {str(submission): expected.genes[score.best_gene]}
    return ContestScores({str(submission): score}, best, len(expected.ids), len(expected.genes), lists)


def score_runs(what: Sequence[Path | Opened], top: int) -> ContestScores:
    """Score what runs predict for all spots they held out together, beside the baselines of the first.

    Gene lists are chosen on the training spots of the first run, as its panel remembers them.

    Raises:
        DataError: a run held nothing out.
        MismatchError: the runs held out different spots or have different genes, learnt labels, or a run or its index has seen
            test tissue.

    """
    scores: dict[str, ContestScore] = {}
    first: tuple[Run, Split] | None = None
    experiments = opened(what)
    alike = len({one.folder.name for one in experiments}) < len(experiments)
    for one in experiments:
        run, divided, folder = one.run, one.split, one.folder
        if run.model.classifies:
            raise MismatchError(f"{folder}: learnt labels, and the contest scores expression; leave --protocol out")
        check_unseen(one)
        predictors = {f"{folder if alike else folder.name} {name}": found for name, found in one.predictors().items()}
        if first is None:
            first = run, divided
            lists = GeneLists.of(run.panel.mean, run.panel.variance, top, f"over the {_spots(divided.train)} training spots")
            predictors |= one.baselines()
        elif (_ids(divided), run.panel.genes) != (_ids(first[1]), first[0].panel.genes):
            raise MismatchError(
                f"{folder}: held out other spots, or has other genes, than {experiments[0].folder}; score them apart"
            )
        # Its formula has no place for a gene that was not measured.
        absent: AbsentName = "zero" if run.config.panel.absent == "zero" else "refuse"
        measured = np.concatenate([run.panel.values(section, absent) for section in divided.test])
        for name, predictor in predictors.items():
            scores[name] = contest_score(predictor.predict(one.tiles(divided.test)).expression, measured, lists)
    if first is None:
        raise DataError("no run was given to score; name at least one")
    run, divided = first
    best = {name: run.panel.genes[score.best_gene] for name, score in scores.items()}
    leak = worst_leak([member.run for one in experiments for member in one.members])
    words = f"{leak.status} ({leak.detail})"
    return ContestScores(scores, best, _spots(divided.test), len(run.panel.genes), lists, words)


def _spots(sections: Sequence[Section]) -> int:
    return sum(len(section) for section in sections)


def _ids(divided: Split) -> tuple[str, ...]:
    return tuple(name for section in divided.test for name in section.ids)
