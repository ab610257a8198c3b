"""Every setting, in one frozen typed tree; the text under a field is its help, its docs line and its hint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from bleep.errors import ConfigError
from bleep.fields import described, sentence
from bleep.recipes import merged, read_yaml

SourceName = Literal["folder", "her2st", "st2k", "visium", "h5ad", "hest", "spatialdata", "liver", "wsi", "toy"]
SplitName = Literal["patient", "section", "block", "random", "none"]
PaddingName = Literal["white", "edge", "reflect"]
ChoiceName = Literal["all", "list", "mean", "variance", "hvg"]
NormaliseName = Literal["log1p", "none"]
TaskName = Literal["contrastive", "regression", "both"]
TrainName = Literal["frozen", "last", "gradual", "full", "lora"]
ScheduleName = Literal["cosine", "plateau", "constant"]
TrackerName = Literal["none", "tensorboard", "trackio", "wandb"]
BatchName = Literal["none", "center", "harmony"]
ScaleName = Literal["none", "zscore", "minmax", "robust"]
TargetsName = Literal["hard", "projected", "inputs"]
WeightsName = Literal["uniform", "softmax", "distance"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class DataConfig(_Section):
    """Which tissue is read, and how it is divided."""

    source: SourceName = "folder"
    """The form the files have, see docs/how-to/own-data; `toy` is made up, nothing is read."""
    root: Path = Path("data")
    """Where the files are, seen from the folder the command is run in."""
    sections: tuple[str, ...] = ()
    """Sections to read, by name; none: every section found."""
    patients: dict[str, str] = {}
    """Which patient (or animal) a section comes from, as `section: patient`; a section not listed is its own patient."""
    species: str = "unknown"
    """Species the genes belong to, such as `human` or `mouse`; a run refuses tissue of another."""
    image: Path | None = None
    """For `visium` and `h5ad`: the picture to cut tiles from, seen from a section's folder; none: hires, else lowres."""
    image_scale: Literal["full", "hires", "lowres"] = "full"
    """For `visium` and `h5ad`: at which of Space Ranger's scales `image` is."""
    bin: PositiveInt = 16
    """For Visium HD: side of the square bins that are read as spots, in microns."""
    element: str = ""
    """For `spatialdata`: name of its image; empty: the only one."""
    table: str = ""
    """For `spatialdata`: name of its table; empty: the only one."""
    system: str = "global"
    """For `spatialdata`: the coordinate system in which image and spots meet."""
    step: PositiveFloat = 100.0
    """For `wsi`: distance between the centres of neighbouring tiles, in microns."""
    mask: Path | None = None
    """For `wsi`: a picture that is white where there is tissue; none: tissue is detected."""
    pixel_limit: PositiveInt = 178_956_970
    """Pictures of more pixels are refused when they must be decoded whole, as a guard against damaged or hostile files."""
    mpp: PositiveFloat | None = None
    """Microns per pixel of the slide or of the tiles; none: what the source knows of its own."""
    protocol: str = ""
    """Name under which scores are reported."""
    split: SplitName = "section"
    """What is held out together: whole patients, whole sections, spatial blocks, (leaking) single spots, or nothing."""
    test: tuple[str, ...] = ()
    """Patients or sections held out for testing, by name; none: the fold below says which."""
    folds: int = Field(default=4, ge=2)
    """Into how many parts patients, sections, blocks or spots are dealt."""
    fold: int = Field(default=0, ge=0)
    """Which of those parts is held out for testing."""
    val: Literal["none", "group", "block"] = "none"
    """What is held out of training to choose the epoch: nothing, one more group of the split, or spatial blocks."""
    blocks: int = Field(default=4, ge=2)
    """Spatial blocks along each side of a section."""
    margin: NonNegativeFloat = 1.0
    """Training spots closer than this many spot pitches to a held-out block are dropped."""


class TilesConfig(_Section):
    """What square of tissue is seen around a spot."""

    pixels: PositiveInt = 224
    """Side of the square picture given to the trunk, in pixels."""
    microns: tuple[PositiveFloat, ...] = (155.0,)
    """Side of the square of tissue it shows, in microns; several: one window each, features side by side."""
    padding: PaddingName = "white"
    """What is painted where a tile leaves the slide: white glass, the edge repeated, or a mirror image."""


class PanelConfig(_Section):
    """Which genes are predicted and how their values are made; everything is fitted on training spots alone."""

    choice: ChoiceName = "variance"
    """Genes taken: all, a list, the highest means, the highest variances, or each section's most variable, joined."""
    size: PositiveInt = 250
    """How many genes (for `hvg`: from each section)."""
    candidates: PositiveInt | None = None
    """First keep this many genes of the highest training mean; the choice is made among them."""
    min_spots: float = Field(default=0.0, ge=0.0, lt=1.0)
    """First drop genes seen in no more than this share of the training spots."""
    list: Path | None = None
    """A file with one gene a line, for `choice: list`."""
    normalise: NormaliseName = "log1p"
    """`log1p`: log(1 + counts per `target`); `none`: the values as they are in the file."""
    target: PositiveFloat = 10_000.0
    """Total that counts are scaled to before the logarithm."""
    denominator: Literal["all", "panel"] = "all"
    """The total of a spot is taken over all genes of the section, or over the panel's genes alone."""
    scale: ScaleName = "zscore"
    """Scaling of each gene for the model; predictions come back on the normalised scale."""
    batch: BatchName = "none"
    """Batch correction between training sections: none, each section's gene means made equal, or Harmony."""
    clip: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Clip each gene to its quantiles [clip, 1 - clip] in the training spots before scaling; 0: no clipping."""


class ImageConfig(_Section):
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


class ExpressionConfig(_Section):
    """The expression encoder: a multi-layer perceptron."""

    hidden: tuple[PositiveInt, ...] = ()
    """Widths of its hidden layers; none: the projection head reads the panel's values directly."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout after each hidden layer."""


class HeadConfig(_Section):
    """What stands on the encoders: BLEEP's projection head, or the regression head."""

    dim: PositiveInt = 256
    """Width of the shared embedding."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout inside the heads."""
    norm: Literal["l2", "layer"] = "l2"
    """Embeddings of unit length (`l2`), or as published, LayerNorm alone (`layer`)."""
    hidden: int = Field(default=0, ge=0)
    """Hidden width of the regression head (SiLU and dropout); 0: one linear layer."""


class LossConfig(_Section):
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


class OptimConfig(_Section):
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


class IndexConfig(_Section):
    """The FAISS index."""

    kind: Literal["flat"] = "flat"
    """`flat`: exact search by inner product."""


class QueryConfig(_Section):
    """How neighbours become a prediction."""

    views: Literal[1, 2, 4, 8] = 1
    """Turned and mirrored views of each tile whose features are averaged at prediction."""

    k: PositiveInt = 50
    """Reference spots averaged for each tile."""
    weights: WeightsName = "uniform"
    """`uniform`, `softmax` of the similarity, or inverse `distance`."""
    temperature: PositiveFloat = 0.1
    """Temperature of the softmax weights."""
    batch: PositiveInt = 64
    """Tiles embedded at a time."""


class Config(_Section):
    """One recipe, from files to scores."""

    data: DataConfig = DataConfig()
    tiles: TilesConfig = TilesConfig()
    panel: PanelConfig = PanelConfig()
    image: ImageConfig = ImageConfig()
    expression: ExpressionConfig = ExpressionConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    index: IndexConfig = IndexConfig()
    query: QueryConfig = QueryConfig()
    out: Path = Path("runs/bleep")
    """Folder of the run."""
    cache: Path = Path("cache")
    """Folder of the features of frozen trunks, safe to delete."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the weights, the order of the spots and the dropout."""

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.data.fold >= self.data.folds:
            raise ValueError(
                f"data.fold is {self.data.fold}, but data.folds is {self.data.folds}: use 0 to {self.data.folds - 1}"
            )
        if not self.tiles.microns:
            raise ValueError("tiles.microns is empty: give at least one window, such as [155]")
        if self.panel.choice == "list" and self.panel.list is None:
            raise ValueError("panel.choice is list, but panel.list names no file: give one gene a line")
        if self.panel.choice != "list" and self.panel.list is not None:
            raise ValueError(f"panel.list is given, but panel.choice is {self.panel.choice}: set panel.choice to list")
        if self.data.test and self.data.split in ("block", "random", "none"):
            raise ValueError(f"data.test names groups, but data.split is {self.data.split}: choose the part with data.fold")
        if self.image.standardize == "section" and self.image.train != "frozen":
            raise ValueError("image.standardize is section, which needs image.train frozen: use train or none")
        return self

    @classmethod
    def load(cls, *parts: str | Path | Mapping[str, Any]) -> "Config":
        """Merge YAML files and mappings, the later winning, and check the result.

        Raises:
            ConfigError: a file is missing or not YAML, a key is unknown, or a value is out of range.

        """
        tree: dict[Any, Any] = {}
        named = ", ".join(str(part) for part in parts if not isinstance(part, Mapping))
        try:
            for part in parts:
                tree = merged(tree, part if isinstance(part, Mapping) else read_yaml(Path(part)))
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(sentence(error, named, cls)) from None
        except RecursionError:
            raise ConfigError(f"{named or 'settings'}: a part holds itself, or is nested too deeply; write it out") from None

    def dump(self) -> dict[str, Any]:
        """Return the whole tree as plain YAML values, defaults included."""
        return self.model_dump(mode="json")


def describe_fields() -> Iterator[tuple[str, str, str, str]]:
    """Yield (dotted name, type, default, help) of every setting, in order."""
    return described(Config)
