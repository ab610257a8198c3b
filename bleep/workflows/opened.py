"""A run or an ensemble opened once, with its reference, calibration, split and predictors, each made once."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from bleep import runs
from bleep.config import PredictorName, WeightsName
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError
from bleep.predictors import Ensemble, Predictor, Remembered, plain
from bleep.predictors.baselines import RegressionPredictor, baselines_of
from bleep.predictors.calibration import (
    MEAN,
    Calibration,
    CombinedPredictor,
    calibration_of,
    predictors_of,
    retrieved_part,
)
from bleep.predictors.classifier import ClassifierPredictor
from bleep.predictors.members import more_baselines_of
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.ensemble import Member, ensemble_digest, is_ensemble, members_of
from bleep.workflows.launch import best_device
from bleep.workflows.tissue import Tissue

log = logging.getLogger(__name__)

ORDER = (ClassifierPredictor.name, CombinedPredictor.name, MEAN, RetrievalPredictor.name, RegressionPredictor.name)
"""Which of a run's predictors is the run's own predictor: the first there is."""
HELD = 64
"""Test sections whose predictions by the run's own predictor are held, for the page and the figures after the scores."""
HELD_OTHERS = 16
"""Test sections whose predictions by each other predictor of a run, and by `FLOOR`, are held for the page."""
NO_GRADES = "it tells classes, which nothing is calibrated for; leave the flag out"
"""What is said where a classifier is asked for what a calibration gives."""
FLOOR = "ridge"
"""The baseline that a page shows beside the predictors."""


class Opened:
    """A run or an ensemble in a folder, opened once: everything it needs is read when first asked for, and kept.

    The commands that evaluate, report, draw, query, explain and calibrate all take one, so they give the same answer for "the
    run's predictor". What a library's user holds is an `Experiment`, which can do what those commands do, too.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str | torch.device = "auto",
        tissue: Tissue | None = None,
        where: str | None = None,
        run: Run | None = None,
    ) -> None:
        """Name a folder; nothing is read yet.

        Args:
            folder: a run's folder, or an ensemble's.
            device: where the model computes; `auto` takes the accelerator torch finds, else the CPU.
            tissue: sections already read, shared with other experiments on the same files.
            where: a condition on the reference spots that may answer, such as `patient != 'P3'`.
            run: the run of that folder where it is in memory already, such as one just trained; it stays where it computes.

        """
        self.folder, self.tissue = Path(folder), tissue or Tissue()
        self._device, self.where, self._given = device, where, run
        self._references: dict[Path, Reference | None] = {}

    def __repr__(self) -> str:
        what = "ensemble" if self.is_ensemble else "run"
        return f"<{type(self).__name__}: {what} in {self.folder}>"

    @cached_property
    def is_ensemble(self) -> bool:
        """Whether the folder holds an ensemble."""
        return self._given is None and is_ensemble(self.folder)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The runs: one, or those of the ensemble with their weights; on the device.

        Raises:
            DataError: the folder is no run, or is damaged.
            MismatchError: a run of the ensemble has changed since.

        """
        if self._given is not None:
            return (Member(self.folder, self._given, 1.0),)
        found = members_of(self.folder) if self.is_ensemble else [Member(self.folder, Run.load(self.folder), 1.0)]
        for member in found:
            member.run.model.to(best_device() if self._device == "auto" else torch.device(self._device))
        return tuple(found)

    @property
    def run(self) -> Run:
        """The run; of an ensemble its first, as which tiles are opened and scales are named."""
        return self.members[0].run

    @cached_property
    def split(self) -> Split:
        """The tissue the run was trained on and what it held out, read again."""
        return self.tissue.split(self.run.config)

    @property
    def reference(self) -> Reference | None:
        """What the run retrieves from; none for a run of regression alone and for an ensemble, whose runs have one each.

        Raises:
            DataError: there is no index yet.
            MismatchError: it belongs to another run.
            ConfigError: `where` is wrong, or the run retrieves nothing.

        """
        return None if self.is_ensemble else self.reference_of(self.members[0])

    @cached_property
    def calibration(self) -> Calibration | None:
        """What `bleep calibrate` fitted; none where it was not called, and for an ensemble.

        Raises:
            MismatchError: it belongs to another run.

        """
        return None if self.is_ensemble else calibration_of(self.run, self.folder)

    @property
    def predictor(self) -> Predictor:
        """The run's own predictor: combined where it is calibrated, else the mean of both, retrieval, or regression."""
        return next(iter(self.predictors().values()))

    def predictors(self) -> Mapping[str, Predictor]:
        """Return the predictors by name, the run's own predictor first.

        Raises:
            DataError: a contrastive run has no index.

        """
        return self._predictors

    def select(
        self,
        name: PredictorName | None = None,
        k: int | None = None,
        weights: WeightsName | None = None,
        abstain: float | None = None,
    ) -> Predictor:
        """Return the predictor asked for; without anything asked, the run's own.

        Args:
            name: which predictor; none: the run's own, or retrieval where `k` or `weights` are given.
            k: how many reference spots are averaged.
            weights: how they are weighed.
            abstain: mark tiles of which the calibration says that fewer than this share of training tiles are as unfamiliar.

        Raises:
            ConfigError: the run has no such predictor, or what is asked for does not go together; or spots of the reference
                were chosen, and none answers.

        """
        chosen = self._selected(name, k, weights, abstain)
        if self.where is not None:
            part = retrieved_part(chosen)
            if part == "none":
                raise ConfigError(
                    f"--where: chooses among reference spots, and {chosen.name} of {self.folder} takes no value from them; "
                    "leave it out, or take --predictor retrieval"
                )
            if part == "part":
                words = "--where: restricts what retrieval finds; the rest of %s knows all spots; see --predictor retrieval"
                log.warning(words, chosen.name)
        return chosen

    def _selected(
        self, name: PredictorName | None, k: int | None, weights: WeightsName | None, abstain: float | None
    ) -> Predictor:
        asked = name.replace("-", " ") if name else RetrievalPredictor.name if k or weights else None
        if (k or weights) and asked != RetrievalPredictor.name:
            raise ConfigError(
                f"--predictor {name}: k and weights are of retrieval; leave them out, or take --predictor retrieval"
            )
        if abstain is not None:
            return self._abstaining(asked, abstain, plain=bool(k or weights))
        if self.is_ensemble:
            return self.ensemble(asked, k, weights)
        found = self.predictors()
        if asked is not None and asked not in found:
            raise ConfigError(self._lacks(self.members[0], asked, found))
        if (k or weights) and self.reference is not None:
            return RetrievalPredictor(self.run, self.reference, k, weights)
        return plain(found[asked] if asked else self.predictor)

    def baselines(self, *, all_floors: bool = False) -> dict[str, Predictor]:
        """Return the baselines, fitted on the training tiles: ridge on features and on colour, image-kNN and the mean.

        With `all_floors` also ridge on numbers of the stains, on their texture, and on a trunk whose weights are random.
        """
        return self._baselines | (more_baselines_of(self.run, self.tiles(self.split.train)) if all_floors else {})

    def tiles(self, sections: Sequence[Section]) -> Tiles:
        """Return the tiles of sections as the run cuts them."""
        return self.run.tiles(tuple(sections))

    def reference_of(self, member: Member) -> Reference | None:
        """Return what a run of an ensemble retrieves from."""
        if member.folder not in self._references:
            model, place = member.run.model, member.folder / runs.REFERENCE
            # A classifier can do without one; where there is one, its labelled tiles may be asked. So can a run sent without.
            needs = model.retrieves and not member.run.facts.unindexed
            reference = Reference.load(place) if needs or (place.is_dir() and (model.retrieves or model.classifies)) else None
            if self.where is not None and reference is None:
                why = "has no index" if model.retrieves else "was trained by regression and has none"
                raise ConfigError(f"--where: chooses among reference spots, and {member.folder} {why}")
            self._references[member.folder] = (
                reference if self.where is None or reference is None else reference.only(self.where)
            )
        return self._references[member.folder]

    @cached_property
    def _predictors(self) -> dict[str, Predictor]:
        if self.is_ensemble:
            whole = self.ensemble()
            return {whole.name: Remembered(whole, HELD)}
        found = predictors_of(self.run, self.reference, self.calibration)
        own, *others = (name for name in ORDER if name in found)
        return {own: Remembered(plain(found[own]), HELD), **{name: Remembered(found[name], HELD_OTHERS) for name in others}}

    @cached_property
    def _baselines(self) -> dict[str, Predictor]:
        found = baselines_of(self.run, self.tiles(self.split.train))
        return {name: Remembered(one, HELD_OTHERS) if name == FLOOR else one for name, one in found.items()}

    def ensemble(self, asked: str | None = None, k: int | None = None, weights: WeightsName | None = None) -> Ensemble:
        """Return the weighted mean of the runs' own predictors, or of the same predictor of each."""
        chosen: list[Predictor] = []
        for member in self.members:
            reference = self.reference_of(member)
            if (k or weights) and reference is not None:
                chosen.append(RetrievalPredictor(member.run, reference, k, weights))
                continue
            found = predictors_of(member.run, reference, calibration_of(member.run, member.folder))
            own = next(name for name in ORDER if name in found)
            if asked is not None and asked not in found and not (k or weights):
                raise ConfigError(self._lacks(member, asked, found))
            chosen.append(found[asked if asked in found else own])
        digest = ensemble_digest(self.folder, self.members, chosen, [self.reference_of(member) for member in self.members])
        return Ensemble([member.run for member in self.members], chosen, [member.weight for member in self.members], digest)

    def _abstaining(self, asked: str | None, share: float, *, plain: bool) -> Predictor:
        if self.is_ensemble:
            way_out = NO_GRADES if self.run.model.classifies else "ask one of its runs"
            raise ConfigError(f"--abstain: an ensemble has no calibration of its own; {way_out}")
        if asked not in (None, CombinedPredictor.name) or self.calibration is None:
            why = (
                "takes no k, weights or other predictor with it"
                if plain or asked
                else f"is not calibrated: {NO_GRADES if self.run.model.classifies else 'run `bleep calibrate` first'}"
            )
            raise ConfigError(f"--abstain: marks tiles by the calibration of a run, and {self.folder} {why}")
        return CombinedPredictor(self.run, self.reference, self.calibration, share)

    def _lacks(self, member: Member, asked: str, found: Mapping[str, Predictor]) -> str:
        hint = "" if asked != CombinedPredictor.name or member.run.model.classifies else "; run `bleep calibrate` first"
        if asked in (RetrievalPredictor.name, MEAN) and member.run.model.retrieves:
            hint = ", as it was sent without its index; `bleep index build` makes one of the training tissue"
        there = ", ".join(name.replace(" ", "-") for name in found)
        return f"--predictor {asked.replace(' ', '-')}: {member.folder} has no such predictor; it has {there}{hint}"


def opened(what: Sequence[str | Path | Opened]) -> list[Opened]:
    """Return experiments as they are, and open folders; those opened here share the sections they read.

    Raises:
        ConfigError: one folder is named twice, so that its scores would count for two.

    """
    named = Counter(Path(one).resolve() for one in what if not isinstance(one, Opened))
    if named and named.most_common(1)[0][1] > 1:
        raise ConfigError(f"{named.most_common(1)[0][0]}: is named twice; name each run once")
    tissue = Tissue()
    return [one if isinstance(one, Opened) else Opened(one, tissue=tissue) for one in what]
