"""A task joins a model and a loss: called with spots it encodes them, and from all that a step encoded it tells the loss.

So the loop, which knows neither, can encode a step in chunks and still take the loss over the whole of it.
"""

from collections.abc import Sequence
from typing import NamedTuple, final, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bleep.collectives import gather_numbers, gather_rows
from bleep.config import FormName, LossConfig
from bleep.data.datasets import Counts, Places, counts_of, places_of
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.errors import BleepError, ConfigError
from bleep.models.losses import (
    OVER_STEP,
    TARGETS,
    TERMS,
    Rules,
    Sides,
    alike_pairs,
    class_weights,
    clip_loss,
    label_loss,
    near_pairs,
    negative_binomial,
    siglip_loss,
)
from bleep.models.models import Classifier, DualEncoder, Pair, Regressor
from bleep.records import Batch
from bleep.runs import Run
from bleep.training.own_losses import CheckedLoss, OwnLoss, registered, rehearse, same_losses


@final
class Terms(nn.Module):
    """The weighted sum of the terms that compare scaled values; no weight of it learns.

    An `own` loss takes the place of all of them.

    Raises:
        ConfigError: a term is of the panel's best genes, and no panel was given.

    """

    heg: Tensor
    hvg: Tensor

    def __init__(self, config: LossConfig, panel: GenePanel | None = None, own: OwnLoss | None = None) -> None:
        super().__init__()
        self.weights, self.delta = ({} if own is not None else config.terms), config.delta
        more = {} if own is not None else {name: weight for name, weight in config.more.items() if weight > 0}
        others = [CheckedLoss(own, contrastive=False)] if own is not None else [registered(n, contrastive=False) for n in more]
        self.others, self.shares = nn.ModuleList(others), [1.0] if own is not None else list(more.values())
        asked = [name for name in ("heg_mse", "hvg_mse") if name in self.weights]
        if asked and panel is None:
            raise ConfigError(f"loss.{asked[0]} is of genes chosen on training spots, but no panel was given to choose from")
        for name, by in (("heg", "mean"), ("hvg", config.hvg)):
            columns = np.zeros(0, np.int64) if panel is None else panel.top(config.top, by)
            # Not persistent: the panel knows them.
            self.register_buffer(name, torch.from_numpy(columns.astype(np.int64)), persistent=False)

    def forward(self, predicted: Float[Tensor, "batch genes"], measured: Float[Tensor, "batch genes"]) -> Float[Tensor, ""]:
        """Return the sum over this process's spots; terms that are no means over spots are over those of all processes.

        Processes hold equal parts, so that the mean over them is the loss of the whole step.
        """
        rules = Rules(self.delta, self.heg, self.hvg)
        total = predicted.new_zeros(())
        for name, weight in self.weights.items():
            if name in OVER_STEP:
                value = TERMS[name](gather_rows(predicted), gather_rows(measured), rules)
            else:
                value = TERMS[name](predicted, measured, rules)
            total = total + weight * value
        if self.others:
            # Nobody knows whether another's loss is a mean over spots, so it is given all of them.
            step = gather_rows(predicted), gather_rows(measured)
            total = total + sum(weight * loss(*step) for loss, weight in zip(self.others, self.shares, strict=True))
        return total


class Encoded(NamedTuple):
    """What a contrastive loss needs of a step: all of `bleep.models.models.Pair`, and the rows."""

    image: Float[Tensor, "batch dim"]
    expression: Float[Tensor, "batch dim"]
    features: Float[Tensor, "batch features"]
    values: Float[Tensor, "batch genes"]
    scale: Float[Tensor, ""]
    bias: Float[Tensor, ""]
    predicted: Float[Tensor, "batch predicted"]
    logits: Float[Tensor, "batch classes"]
    rows: Int[Tensor, " batch"]
    """Rows among the training spots."""


class Predicted(NamedTuple):
    """What a regression loss needs of a step."""

    said: Float[Tensor, "batch genes"]
    """What the head says: scaled values, or under `loss.nb` logarithms of rates."""
    measured: Float[Tensor, "batch genes"]
    """Scaled panel values."""
    log_dispersion: Float[Tensor, "batch dispersions"]
    """Of each gene's counts, the same for every spot, under `loss.nb`; no columns otherwise."""
    rows: Int[Tensor, " batch"]
    """Rows among the training spots."""


@final
class ContrastiveTask(nn.Module):
    """CLIP or SigLIP over the tiles and spots of all processes together, with a regression loss beside it under `both`.

    Under `loss.labels` there is a loss of labels too, over the spots that have one.

    Raises:
        ConfigError: SigLIP is asked for with soft targets, `near` without places, terms of genes without a panel, or a model
            that learns labels comes without them.

    """

    place: Tensor
    section: Tensor
    label: Tensor
    class_weights: Tensor

    def __init__(
        self,
        model: DualEncoder,
        config: LossConfig,
        places: Places | None = None,
        panel: GenePanel | None = None,
        own: OwnLoss | None = None,
        label: Float[Tensor, "spots classes"] | None = None,
    ) -> None:
        super().__init__()
        if model.label_head is not None and label is None:
            raise ConfigError("the model learns labels, but no labels of the training spots were given")
        if config.form == "siglip" and config.targets != "hard":
            raise ConfigError(
                f"loss.form is siglip, which knows only pairs and no softer targets, but loss.targets is {config.targets}: "
                "set loss.targets to hard"
            )
        if config.near > 0 and places is None:
            raise ConfigError(
                f"loss.near is {config.near:g}, but nobody said where the training spots lie: give their sections"
            )
        self.model, self.config = model, config
        self.terms = Terms(config, panel, own) if config.task == "both" else None
        self.own = CheckedLoss(own, contrastive=True) if own is not None and config.task == "contrastive" else None
        if self.own is None and config.form not in get_args(FormName):
            self.own = registered(config.form, contrastive=True)
        if config.near > 0 and places is not None:
            # Not persistent: where spots lie is known from the data, so neither a run nor a state need keep it.
            self.register_buffer("place", places.place, persistent=False)
            self.register_buffer("section", places.section, persistent=False)
        if label is not None:
            self.register_buffer("label", label, persistent=False)
            # Spots without a label have a share too, so the mean over all spots is that over the labelled ones.
            self.register_buffer("class_weights", class_weights(config.class_weights, label.mean(dim=0)), persistent=False)

    def forward(self, batch: Batch) -> Encoded:
        pair: Pair = self.model(batch.inputs, batch.expression)
        return Encoded(*pair, rows=batch.rows)

    def loss(self, encoded: Encoded) -> Float[Tensor, ""]:
        """Return the loss over the spots of all processes; that of regression as `RegressionTask` does."""
        sides = Sides(*(gather_rows(side) for side in encoded[:4]))
        contrastive = self._contrastive(sides, encoded, self.ignored(gather_numbers(encoded.rows), sides.values))
        total = contrastive
        if self.terms is not None:
            total = total + self.config.regression * self.terms(encoded.predicted, encoded.values)
        if self.model.label_head is not None:
            settings, label = self.config, self.label[encoded.rows]
            told = label_loss(encoded.logits, label, self.class_weights, settings.smoothing, settings.focal)
            total = total + settings.labels * told
        return total

    def _contrastive(self, sides: Sides, encoded: Encoded, ignored: Bool[Tensor, "all all"] | None) -> Float[Tensor, ""]:
        if self.own is not None:
            return self.own(sides, encoded.scale)
        if self.config.form == "siglip":
            return siglip_loss(sides, encoded.scale, encoded.bias, ignored)
        targets = TARGETS[self.config.targets](sides, encoded.scale, self.config.target_temperature)
        return clip_loss(sides, encoded.scale, targets, ignored)

    def ignored(self, rows: Int[Tensor, " all"], values: Float[Tensor, "all genes"]) -> Bool[Tensor, "all all"] | None:
        """Return the pairs of these spots that are not taken for wrong ones; none where the settings ask for none."""
        found = []
        if self.config.near > 0:
            found.append(near_pairs(self.place[rows], self.section[rows], self.config.near))
        if self.config.alike < 1:
            found.append(alike_pairs(values, self.config.alike))
        return torch.stack(found).any(dim=0) if found else None


@final
class RegressionTask(nn.Module):
    """The regression loss; processes hold equal parts, so that the mean of their losses is that of all.

    Under `loss.nb` each gene's dispersion is learnt too; it is the loss's own, and no part of the run.

    Raises:
        ConfigError: terms of genes come without a panel, or the likelihood of counts without counts.

    """

    counts: Tensor
    log_exposure: Tensor

    def __init__(
        self,
        model: Regressor,
        config: LossConfig | None = None,
        panel: GenePanel | None = None,
        counts: Counts | None = None,
        own: OwnLoss | None = None,
    ) -> None:
        super().__init__()
        self.model, self.config = model, LossConfig(task="regression") if config is None else config
        self.terms = Terms(self.config, panel, own)
        self.log_dispersion = None
        if model.link is not None:
            if panel is None or counts is None:
                raise ConfigError("loss.nb is a likelihood of counts, but no counts were given: give panel and sections")
            model.link.fit(panel.mean, panel.shift, panel.factor)
            self.log_dispersion = nn.Parameter(torch.zeros(len(panel.genes)))
            # Not persistent: what was counted is known from the data.
            self.register_buffer("counts", counts.counts, persistent=False)
            self.register_buffer("log_exposure", counts.log_exposure, persistent=False)

    def forward(self, batch: Batch) -> Predicted:
        said = self.model(batch.inputs)
        spread = said.new_zeros((len(said), 0)) if self.log_dispersion is None else self.log_dispersion.expand_as(said)
        return Predicted(said, batch.expression, spread, batch.rows)

    def loss(self, predicted: Predicted) -> Float[Tensor, ""]:
        """Return the loss over this process's spots; see `Terms` for those over all."""
        total: Tensor = self.terms(self.model.scaled(predicted.said), predicted.measured)
        if self.model.link is None:
            return total
        log_mean = self.model.link.log_rate(predicted.said) + self.log_exposure[predicted.rows, None]
        return total + self.config.nb * negative_binomial(self.counts[predicted.rows], log_mean, predicted.log_dispersion)


class Classified(NamedTuple):
    """What a classifier's loss needs of a step."""

    logits: Float[Tensor, "batch classes"]
    label: Float[Tensor, "batch classes"]
    """1 for a spot's own class, 0 elsewhere."""


@final
class ClassifyTask(nn.Module):
    """Cross-entropy of labels, weighted, smoothed or focal as asked; processes hold equal parts, as under `RegressionTask`."""

    weights: Tensor

    def __init__(self, model: Classifier, config: LossConfig, share: Float[Tensor, " classes"]) -> None:
        """Take the share of each class among the training spots."""
        super().__init__()
        self.model, self.config = model, config
        # Not persistent: the panel knows the shares.
        self.register_buffer("weights", class_weights(config.class_weights, share), persistent=False)

    def forward(self, batch: Batch) -> Classified:
        return Classified(self.model(batch.inputs), batch.expression)

    def loss(self, classified: Classified) -> Float[Tensor, ""]:
        """Return the loss over this process's spots."""
        return label_loss(classified.logits, classified.label, self.weights, self.config.smoothing, self.config.focal)


Task = ContrastiveTask | RegressionTask | ClassifyTask
"""What may be trained."""


def task_of(
    model: DualEncoder | Regressor | Classifier,
    config: LossConfig,
    sections: Sequence[Section] = (),
    panel: GenePanel | None = None,
    own: OwnLoss | None = None,
    label: Float[np.ndarray, "spots classes"] | None = None,
) -> Task:
    """Return the task that trains this model on the spots of these sections, in their order.

    An `own` loss takes the place of the contrastive one under `loss.task: contrastive`, of the regression terms otherwise.
    `label` has 1 for each spot's class, for a model that learns labels beside the expression.

    Raises:
        ConfigError: the settings of the loss contradict each other, or a term of it needs the panel.
        DataError: `loss.near` is set, and a section's tiles have no known places; or `loss.nb`, and it has no counts.

    """
    if isinstance(model, Classifier):
        if panel is None:
            raise ConfigError("loss.task is classify, but no panel of classes was given")
        return ClassifyTask(model, config, torch.from_numpy(panel.mean.astype(np.float32)))
    if isinstance(model, Regressor):
        counts = counts_of(sections, panel) if model.link is not None and sections and panel is not None else None
        return RegressionTask(model, config, panel, counts, own)
    places = places_of(sections) if config.near > 0 and sections else None
    return ContrastiveTask(model, config, places, panel, own, None if label is None else torch.from_numpy(label))


def rehearse_own(task: Task, values: Float[Tensor, "spots genes"], seed: int | None = None) -> list[tuple[float, ...]]:
    """Call the losses of a task that are not bleep's own once, on the values of a step's spots and made-up predictions.

    Returns what each gave: see `bleep.training.own_losses.rehearse`.

    Raises:
        ConfigError: one of them fails, or gives no single real number that depends on the model.

    """
    if isinstance(task, ClassifyTask):
        return []
    of_values = [] if task.terms is None else [loss for loss in task.terms.others if isinstance(loss, CheckedLoss)]
    if isinstance(task, RegressionTask):
        return rehearse(values, task.config, None, of_values, (0, 0), seed=seed)
    widths = task.model.image_head.project.out_features, task.model.standardize.width
    return rehearse(values, task.config, task.own, of_values, widths, unit=task.model.unit, seed=seed)


def losses_of(task: Task, run: Run) -> tuple[tuple[float, ...], ...]:
    """Return what the losses that are not bleep's own do with a made-up step, the same for all folds and seeds of a recipe.

    Nothing is said of one that fails there, gives no finite numbers, or gives others each time.
    """
    shape = run.config.optim.batch, len(run.panel.genes)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(next(task.parameters()).device)
    try:
        once, again = (rehearse_own(task, values, seed) for seed in range(2))
    except BleepError:
        return ()
    return tuple(
        one if np.isfinite(one).all() and same_losses([one], [other]) else () for one, other in zip(once, again, strict=True)
    )
