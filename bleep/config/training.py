"""What training makes small, how long and how fast."""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bleep import registry
from bleep.config.base import Settings, known

TaskName = Literal["contrastive", "regression", "both", "classify"]
TargetsName = Literal["hard", "projected", "inputs"]
ScheduleName = Literal["cosine", "plateau", "constant"]
TrackerName = Literal["none", "tensorboard", "trackio", "wandb"]
FormName = Literal["clip", "siglip"]
TermName = Literal["mse", "huber", "log_cosh", "pearson", "heg_mse", "hvg_mse"]
OptimizerName = Literal["adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta"]


class LossConfig(Settings):
    """What training makes small."""

    task: TaskName = "contrastive"
    """Pull tile and spot together in one space, predict the values directly, or both on a shared trunk."""
    form: Annotated[str, known("losses", get_args(FormName))] = "clip"
    """Of the contrastive loss: softmax over the spots of a step (CLIP), or a yes or no for each pair (SigLIP)."""
    targets: TargetsName = "inputs"
    """CLIP targets: the pair alone, BLEEP's soft targets from projections, or soft targets from the inputs."""
    temperature: PositiveFloat = 0.07
    """Temperature that the similarities are divided by, at the start."""
    learn_temperature: bool = True
    """Let the temperature learn, kept between 0.01 and 1; fixed otherwise."""
    target_temperature: PositiveFloat = 0.1
    """Temperature of soft targets computed from the inputs."""
    near: NonNegativeFloat = 0.0
    """Other spots of the same section closer than this many microns are not taken for wrong pairs; 0: all are."""
    alike: float = Field(default=1.0, gt=0.0, le=1.0)
    """Spots whose measured values correlate more than this are not taken for wrong pairs; 1: all are."""
    regression: NonNegativeFloat = 1.0
    """Weight of the regression loss, the sum of the terms below, beside the contrastive loss under `task: both`."""
    mse: NonNegativeFloat = 1.0
    """Regression: weight of the mean squared error."""
    huber: NonNegativeFloat = 0.0
    """Regression: weight of the Huber loss, squared below `delta` and straight above."""
    delta: PositiveFloat = 1.0
    """Error, on the scaled values, from which the Huber loss goes straight."""
    log_cosh: NonNegativeFloat = 0.0
    """Regression: weight of the mean logarithm of the hyperbolic cosine of the error."""
    pearson: NonNegativeFloat = 0.0
    """Regression: weight of 1 - r, r being each gene's Pearson correlation over the step, mean over genes."""
    heg_mse: NonNegativeFloat = 0.0
    """Regression: weight of the squared error over the `top` genes of highest training mean alone."""
    hvg_mse: NonNegativeFloat = 0.0
    """Regression: weight of the squared error over the `top` genes that vary most in training, as `hvg` says."""
    top: PositiveInt = 50
    """Genes in each of these two sets."""
    hvg: Literal["variance", "cv"] = "variance"
    """Vary most by variance, or by coefficient of variation (genes of mean 0 or less come last)."""
    nb: NonNegativeFloat = 0.0
    """Regression: weight of the negative binomial likelihood of the counts; needs whole counts and `normalise: log1p`."""
    labels: NonNegativeFloat = 0.0
    """Contrastive and both: weight of the cross-entropy of `data.label` beside the loss of expression; 0: none is learnt."""
    class_weights: float = Field(default=0.0, ge=0.0, le=1.0)
    """Of labels: a spot counts by its class's share of the training spots to minus this power; 0: alike, 1: classes alike."""
    smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of labels: share of a label's weight that is spread over all classes (Szegedy et al., CVPR 2016)."""
    focal: NonNegativeFloat = 0.0
    """Of labels: exponent that lets spots that are told well already count less (Lin et al., ICCV 2017); 0: cross-entropy."""

    more: dict[str, NonNegativeFloat] = Field(default={})
    """Regression: weights of losses that other packages bring, as `name: weight`; see docs/how-to/extend."""

    @property
    def terms(self) -> dict[TermName, float]:
        """The weights, above 0, of the terms that compare scaled values."""
        return {name: weight for name in get_args(TermName) if (weight := getattr(self, name)) > 0}

    @model_validator(mode="after")
    def _agree(self) -> "LossConfig":
        unknown = sorted(set(self.more) - set(registry.names("losses")))
        if unknown:
            there = ", ".join(registry.names("losses")) or "none is installed"
            raise ValueError(f"loss.more: no package lists a loss {unknown[0]!r} among its bleep.losses; found: {there}")
        if self.task in ("regression", "both") and not (self.terms or any(self.more.values())) and self.nb == 0:
            raise ValueError(
                f"loss.task is {self.task}, but every term of the regression loss has weight 0: give one, such as loss.mse 1"
            )
        if self.labels > 0 and self.task not in ("contrastive", "both"):
            raise ValueError(
                f"loss.labels is of labels beside a contrastive loss, but loss.task is {self.task}: set loss.task to both, or "
                "to classify for labels alone"
            )
        if self.nb > 0 and self.task != "regression":
            raise ValueError(
                f"loss.nb is a loss of direct regression, but loss.task is {self.task}: set loss.task to regression"
            )
        return self


class OptimConfig(Settings):
    """How long and how fast training goes."""

    epochs: PositiveInt = 30
    """Passes over the training spots."""
    keep: tuple[PositiveInt, ...] = ()
    """Also keep the run as it is after these numbers of epochs, each a run by itself in `epochs/N` of its folder."""
    name: OptimizerName = "adamw"
    """What changes the weights: AdamW, Adam, SGD, RMSprop, Adagrad or Adadelta, with torch's defaults but for these lines."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of `sgd` and `rmsprop`; the others have none of this kind."""
    batch: PositiveInt = 256
    """Spots in a step, over all processes together."""
    chunk: PositiveInt | None = None
    """Spots of a process encoded at a time: lowers memory, and changes nothing else but what batch normalisation learns and
    which values dropout leaves out; none: all at once."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of the heads."""
    trunk_lr: PositiveFloat = 1e-5
    """Peak learning rate of the trunk's weights that learn."""
    weight_decay: NonNegativeFloat = 1e-3
    """Weight decay (AdamW's own, else a squared penalty); biases, norms and the temperature have none."""
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the steps over which the learning rate rises; it falls as a cosine after."""
    clip: PositiveFloat = 1.0
    """Gradients longer than this are shortened to it."""
    patience: PositiveInt = 20
    """Stop after this many epochs without a better validation score (with `data.val`)."""
    schedule: ScheduleName = "cosine"
    """After the warm-up: fall as a cosine, fall by a factor when validation stops to improve, or stay."""
    plateau_factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Under `schedule: plateau`: what the rate is multiplied by when it falls."""
    plateau_patience: int = Field(default=10, ge=0)
    """Under `schedule: plateau`: epochs without a better score that are borne; one more lets the rate fall."""
    plateau_threshold: NonNegativeFloat = 1e-4
    """Under `schedule: plateau`: how much higher than the best a score must be to count as better."""
    plateau_mode: Literal["rel", "abs"] = "rel"
    """Under `schedule: plateau`: the threshold is a share of the best score, or is added to it."""
    plateau_cooldown: int = Field(default=0, ge=0)
    """Under `schedule: plateau`: epochs after a fall that are not counted."""
    plateau_min_lr: NonNegativeFloat = 0.0
    """Under `schedule: plateau`: no rate falls below this."""
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Keep a running average of the weights with this decay a step, and use it for validation and the run; 0: none."""
    compile: bool = False
    """Let torch.compile make the encoders faster; the first step takes long."""
    tracker: TrackerName = "none"
    """Send the log to a tracker, through Accelerate, beside the run's own log."""
    augment: bool = True
    """Turn and mirror training tiles; without effect on a frozen trunk, whose features are computed once."""
    stain: float = Field(default=0.0, ge=0.0, le=1.0)
    """Jitter of the stains of training tiles: spread of each stain's factor and shift in HED space; 0: none."""
    gene_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a training spot's values hidden from the expression encoder at each step (set to the mean)."""
    rotate: float = Field(default=0.0, ge=0.0, le=180.0)
    """Turn training tiles by up to so many degrees, anew for each batch; needs a trunk that learns."""
    shift: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Shift training tiles by up to this share of their side."""
    shear: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Shear training tiles by up to this slope."""
    zoom: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Enlarge or shrink training tiles by up to this share."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that read tiles beside each that computes; none: as suits the device (a CPU none, a GPU one a core)."""
