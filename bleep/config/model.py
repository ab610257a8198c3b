"""The encoders and what stands on them."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bleep.config.base import Settings

TrainName = Literal["frozen", "last", "gradual", "full", "lora"]
PrecisionName = Literal["auto", "float32", "bf16", "fp16"]
StainName = Literal["none", "reinhard", "macenko", "stretch"]
SharingName = Literal["none", "tokens", "auto"]
BeforeName = Literal["none", "silu", "dropout"]
LayersName = Literal["silu", "dense-norm"]

FLOOR = 0.02
"""Share of the median spread that every feature's spread counts at least as."""


class ImageConfig(Settings):
    """The image encoder: one trunk or several."""

    trunk: str = "vit_small_patch14_dinov2"
    """A model of timm, of torchvision where timm lacks it, or a histology foundation model by its page (`MahmoodLab/UNI`)."""
    weights: str = "hub"
    """`hub` (downloaded by timm or torchvision), `random`, a local .safetensors or .pth file, or a run's folder."""
    layer: int | None = Field(default=None, ge=0)
    """Depth the features are read at (block or stage, from 0; mean over positions); none: the pooled last layer."""
    output: Literal["pooled", "logits"] = "pooled"
    """What is read of the last layer: what its classifier reads, or the (1000) logits the classifier gives."""
    also: tuple[str, ...] = ()
    """More trunks that see the same windows; their features stand beside those of `trunk`."""
    also_weights: tuple[str, ...] = ()
    """Weights of each of those, as `weights`; none: all from the hub."""
    also_layers: tuple[NonNegativeInt | None, ...] = ()
    """Depth each of those is read at, as `layer`; none: all at the pooled last layer."""
    per_window: Literal["shared", "separate"] = "shared"
    """Whether all windows of a tile go through the same trunk, or each through one that learns by itself."""
    train: TrainName = "frozen"
    """Which weights of the trunk learn: none, its last `unfreeze` blocks at once or one by one, all, or LoRA adapters."""
    unfreeze: PositiveInt = 1
    """Number of last blocks or stages that learn under `train: last` or `gradual`."""
    freeze: int = Field(default=0, ge=0)
    """Under `train: full`: the first this many layers that have weights stay as they are."""
    lora_rank: PositiveInt = 8
    """Rank of the adapters under `train: lora`."""
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Each block's learning rate is this many times the next one's above it; 1: all alike."""
    standardize: Literal["none", "train", "section"] = "train"
    """Features are brought to mean 0 and spread 1 over the training tiles, over each section's own tiles, or not."""
    floor: float = Field(default=FLOOR, ge=0.0, lt=1.0)
    """When features are standardised, each one's spread counts as at least this share of the median one's; 0: as it is."""
    context: tuple[PositiveFloat, ...] = ()
    """Beside each tile's own features stand their means over its section, weighed by Gaussians this many microns wide."""
    stain: StainName = "none"
    """Bring the stains of each section's tiles to those of the training tiles, as Reinhard or Macenko did, or `stretch` them
    to fixed percentiles; none: leave them."""
    channels_last: bool = True
    """Keep pixels with their channels side by side in memory, which makes convolutions faster; only rounding changes."""
    precision: PrecisionName = "auto"
    """What the trunk computes in while it does not learn (else what accelerate was told); auto: bf16 where it is fast here."""
    sharing: SharingName = "none"
    """Whether windows read the tokens of regions that they share; auto: where the smallest windows overlap over fourfold."""

    @property
    def can_share(self) -> bool:
        """Whether the trunk is read as a grid and stays as it is, which shared regions need."""
        layers = self.also_layers or (None,) * len(self.also)
        return self.train == "frozen" and None not in (self.layer, *layers)

    @model_validator(mode="after")
    def _agree(self) -> "ImageConfig":
        if self.sharing == "tokens" and not self.can_share:
            raise ValueError("image.sharing is tokens, which needs image.train frozen and an image.layer for every trunk")
        for name, given in (("also_weights", self.also_weights), ("also_layers", self.also_layers)):
            if given and len(given) != len(self.also):
                raise ValueError(f"image.{name} has {len(given)} entries, but image.also names {len(self.also)} trunks")
        if self.output == "logits" and self.layer is not None:
            raise ValueError(f"image.output is logits, but image.layer {self.layer} is read: set image.layer to none")
        if self.per_window == "separate" and self.train == "frozen":
            raise ValueError("image.per_window is separate, but frozen trunks stay alike: set it to shared, or image.train")
        if self.context and self.train != "frozen":
            raise ValueError(
                "image.context needs the features of a whole section, so image.train frozen: empty it, or set that"
            )
        if self.freeze and self.train != "full":
            raise ValueError(f"image.freeze is {self.freeze}, but image.train is {self.train}: set image.train to full")
        return self


class ExpressionConfig(Settings):
    """The expression encoder: a multi-layer perceptron."""

    hidden: tuple[PositiveInt, ...] = ()
    """Widths of its hidden layers; none: the projection head reads the panel's values directly."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout after each hidden layer."""


class HeadConfig(Settings):
    """What stands on the encoders: BLEEP's projection head, or the regression head."""

    dim: PositiveInt = 256
    """Width of the shared embedding."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout inside the heads."""
    norm: Literal["l2", "layer"] = "l2"
    """Embeddings of unit length (`l2`), or as published, LayerNorm alone (`layer`)."""
    hidden: int = Field(default=0, ge=0)
    """Hidden width of the regression head (SiLU and dropout); 0: one linear layer."""
    before: BeforeName = "none"
    """What features go through before the regression head's first layer: nothing, SiLU and dropout, or dropout alone."""
    components: int = Field(default=0, ge=0)
    """A classifier sees so many principal components of the training tiles' features, whitened, of each scale; 0: all."""
    layers: LayersName = "silu"
    """Hidden layer of a classifier's head: linear, SiLU and dropout, or linear, ReLU, BatchNorm and dropout."""
