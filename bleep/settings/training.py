"""What training makes small, how long and how fast."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bleep.settings.base import Settings

TaskName = Literal["contrastive", "regression", "both"]
TargetsName = Literal["hard", "projected", "inputs"]
ScheduleName = Literal["cosine", "plateau", "constant"]
TrackerName = Literal["none", "tensorboard", "trackio", "wandb"]


class LossConfig(Settings):
    """What training makes small."""

    task: TaskName = "contrastive"
    """Pull tile and spot together in one space, predict the values directly, or both on a shared trunk."""
    form: Literal["clip", "siglip"] = "clip"
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
    """Weight of the squared error beside the contrastive loss, under `task: both`."""


class OptimConfig(Settings):
    """How long and how fast training goes."""

    epochs: PositiveInt = 30
    """Passes over the training spots."""
    batch: PositiveInt = 256
    """Spots in a step, over all processes together."""
    chunk: PositiveInt | None = None
    """Spots of a process encoded at a time: lowers memory, and changes nothing else; none: all at once."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of the heads (AdamW)."""
    trunk_lr: PositiveFloat = 1e-5
    """Peak learning rate of the trunk's weights that learn."""
    weight_decay: NonNegativeFloat = 1e-3
    """Weight decay of AdamW; biases, norms and the temperature have none."""
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the steps over which the learning rate rises; it falls as a cosine after."""
    clip: PositiveFloat = 1.0
    """Gradients longer than this are shortened to it."""
    patience: PositiveInt = 20
    """Stop after this many epochs without a better validation score (with `data.val`)."""
    schedule: ScheduleName = "cosine"
    """After the warm-up: fall as a cosine, fall tenfold when validation stops to improve, or stay."""
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
    workers: int = Field(default=0, ge=0)
    """Processes that read tiles beside each training process."""
