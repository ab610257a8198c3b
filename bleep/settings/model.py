"""The encoders and what stands on them."""

from typing import Literal

from pydantic import Field, PositiveInt

from bleep.settings.base import Settings

TrainName = Literal["frozen", "last", "gradual", "full", "lora"]


class ImageConfig(Settings):
    """The image encoder: a timm trunk."""

    trunk: str = "vit_small_patch14_dinov2"
    """Any timm model name."""
    weights: str = "hub"
    """`hub` (downloaded by timm), `random`, or the path of a local .safetensors or .pth file."""
    layer: int | None = Field(default=None, ge=0)
    """Depth the features are read at (block or stage, from 0; mean over positions); none: the pooled last layer."""
    train: TrainName = "frozen"
    """Which weights of the trunk learn: none, its last `unfreeze` blocks at once or one by one, all, or LoRA adapters."""
    unfreeze: PositiveInt = 1
    """Number of last blocks or stages that learn under `train: last` or `gradual`."""
    lora_rank: PositiveInt = 8
    """Rank of the adapters under `train: lora`."""
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Each block's learning rate is this many times the next one's above it; 1: all alike."""
    standardize: Literal["none", "train", "section"] = "train"
    """Features are brought to mean 0 and spread 1 over the training tiles, over each section's own tiles, or not."""


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
