"""Settings of the model, of the index and of queries."""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bleep.config.base import Settings, known

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
    """A model of timm, of torchvision where timm lacks it, a foundation model by its page (`MahmoodLab/UNI`), or `textures` or
    `centred-textures`, which have no weights."""
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
    halo: float | None = Field(default=None, gt=0.0, le=0.25)
    """Under `sharing`: share of a region's side left away on each side, in whole tokens; none: 1/16 of `region` 1, 1/8 of 2."""
    region: Literal[1, 2] | None = None
    """Under `sharing`: side of a region, in sides of a window; none: 1 for a vision transformer of 8 tokens across, else 2."""

    @property
    def can_share(self) -> bool:
        """Whether the trunk is read as a grid and stays as it is, which shared regions need."""
        layers = self.also_layers or (None,) * len(self.also)
        return self.train == "frozen" and None not in (self.layer, *layers)

    @model_validator(mode="after")
    def _agree(self) -> "ImageConfig":
        if self.sharing == "tokens" and not self.can_share:
            raise ValueError(
                "image.sharing is tokens, which needs image.train frozen and an image.layer for every trunk "
                "(`textures` has none): set image.sharing to none otherwise"
            )
        for name, given in (("also_weights", self.also_weights), ("also_layers", self.also_layers)):
            if given and len(given) != len(self.also):
                raise ValueError(f"image.{name} has {len(given)} entries, but image.also names {len(self.also)} trunks")
        if self.output == "logits" and self.layer is not None:
            raise ValueError(f"image.output is logits, but image.layer {self.layer} is read: set image.layer to none")
        if self.output == "logits" and any(layer is not None for layer in self.also_layers):
            raise ValueError(
                "image.output is logits, of every trunk, but image.also_layers names a depth: set its entries to none"
            )
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


KindName = Literal["auto", "flat", "ivf", "ivfpq", "hnsw", "sq", "diskann"]
StoreName = Literal["faiss", "milvus"]
KeysName = Literal["expression", "image", "both"]
GpuName = Literal["auto", "none"]
GpusName = Literal["replicas", "shards"]
WeightsName = Literal["uniform", "softmax", "distance", "adaptive"]
PredictorName = Literal["combined", "mean-of-both", "retrieval", "regression", "classifier"]
DtypeName = Literal["float32", "float16"]
"""Precision of predicted values in h5ad and zarr; float16 keeps three digits."""

MemberName = Literal[
    "retrieval",
    "regression",
    "ridge",
    "robust ridge",
    "image-kNN by section",
    "ridge on colour by section",
    "ridge on stains",
    "component retrieval",
    "robust ridge on textures",
    "component retrieval on textures",
]
ABSTAIN = 0.01
"""Share of left-out training tiles below which a tile's familiarity marks it, unless said otherwise."""


class IndexConfig(Settings):
    """The index of the reference."""

    store: StoreName = "faiss"
    """What searches: `faiss`, in this process; `milvus`, a collection of a Milvus server or of a file of Milvus Lite."""
    uri: str = ""
    """Milvus: `http://HOST:19530`, or a file ending in .db for Milvus Lite; token and database come from the environment,
    MILVUS_TOKEN and MILVUS_DB."""
    kind: Annotated[str, known("indexes", get_args(KindName))] = "auto"
    """`flat` is exact; `ivf` looks through some lists of vectors, `sq` the same at 8 bits a number, `ivfpq` product codes,
    `hnsw` a graph, `diskann` (Milvus) one on disk; `auto` takes `flat` up to 50 million numbers, then the first of `ivf`,
    `sq`, `ivfpq` that fits, and `flat` where `ivf` would look through over a sixth of its lists or miss the recall."""
    keys: KeysName = "expression"
    """What a measured spot is found by: its embedded `expression`, as in BLEEP; its own tile's embedded `image`; or `both`, by
    the mean of the two similarities."""
    memory: PositiveFloat | None = None
    """GB that the index may take; `auto` and the refinement of `ivfpq` keep to it. No limit by default."""
    recall: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of the 50 true nearest that an approximate kind is tuned to find when it is built."""
    gpu: GpuName = "auto"
    """`auto`: build and search on GPUs where FAISS finds them (flat, ivf, sq); `none`: on the CPU."""
    gpus: GpusName = "replicas"
    """Several GPUs hold the whole index each (`replicas`, faster), or a part each (`shards`, larger)."""
    expression: Literal["auto", "dense", "half", "sparse"] = "auto"
    """How the spots' values are kept: `dense` float32, `half` float16, `sparse` rows; `auto` goes by size and zeros."""
    expression_url: str = ""
    """Where: none, in files of the index, mapped; else a place that fsspec knows, such as `s3://BUCKET/atlas`, which takes them
    as a Zarr store with shards (extra `remote`); names and passwords come from the environment."""


class QueryConfig(Settings):
    """How neighbours become a prediction."""

    views: Literal[1, 2, 4, 8] = 1
    """Turned and mirrored views of each tile whose features are averaged at prediction."""

    k: PositiveInt = 50
    """Reference spots averaged for each tile."""
    weights: WeightsName = "uniform"
    """`uniform`, `softmax` of the similarity, inverse `distance`, or `adaptive`: only those nearly as similar as the best."""
    temperature: PositiveFloat = 0.1
    """Temperature of the softmax weights; under `adaptive`, how much less similar than the best a neighbour may be."""
    interval: float = Field(default=0.9, ge=0.5, le=0.99)
    """Share of measured values that the intervals of a calibrated run are to hold."""
    batch: PositiveInt = 64
    """Tiles embedded at a time."""
    members: tuple[MemberName, ...] = ()
    """What a calibrated run combines; none: retrieval, regression and ridge, each where the run has it, and where subjects
    are held out (`data.split: patient`) also the simple members that travel best."""
