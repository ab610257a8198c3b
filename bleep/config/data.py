"""Which tissue is read, how it is divided, what a tile shows, and which genes are predicted."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bleep.config.base import Settings, known

SourceName = Literal[
    "folder", "her2st", "st2k", "visium", "segmented", "xenium", "h5ad", "hest", "spatialdata", "liver", "wsi", "patches", "toy"
]  # fmt: skip
SplitName = Literal["patient", "section", "block", "random", "none"]
PaddingName = Literal["white", "edge", "reflect"]
Microns = Annotated[PositiveFloat, Field(le=1e6)]
"""A length on a slide, none of which is a metre wide."""


class DataConfig(Settings):
    """Which tissue is read, and how it is divided."""

    source: Annotated[str, known("readers", get_args(SourceName))] = "folder"
    """The form the files have, see docs/how-to/own-data; `toy` is made up, nothing is read."""
    root: Path = Path("data")
    """Where the files are, seen from the folder the command is run in."""
    options: dict[str, str] = Field(default={})
    """For a reader of another package: what it asks for, as `name: value`; see docs/how-to/extend."""
    features: Path | None = None
    """With `image.trunk: features`: folder of a `SECTION.h5` for each section, as TRIDENT, CLAM or HEST write them."""
    features_limit: PositiveFloat | None = None
    """The farthest that a patch of those files may lie from its spot, in microns; none: half a patch's side."""
    sections: tuple[str, ...] = ()
    """Sections to read, by name; none: every section found."""
    patients: dict[str, str] = Field(default={})
    """Which patient (or animal) a section comes from, as `section: patient`; a section not listed is its own patient."""
    species: str = "unknown"
    """Species the genes belong to, such as `human` or `mouse`; a run refuses tissue of another."""
    image: Path | None = None
    """For `visium`, `segmented`, `xenium` and `h5ad`: the picture for tiles, seen from a section's folder; none: the best."""
    image_scale: Literal["full", "hires", "lowres"] = "full"
    """For `visium`, `segmented` and `h5ad`: at which of Space Ranger's scales `image` is."""
    alignment: Path | None = None
    """For `xenium`: CSV of the matrix from the picture's pixels to Xenium's; none: `..._he_imagealignment.csv` beside it."""
    layer: str = ""
    """For `h5ad`, `hest` and `spatialdata`: layer that holds the counts, or `X`; empty: `counts`, else raw or X."""
    raw: bool = False
    """For the same: take the values from `raw`, whatever they are."""
    bin: PositiveInt = 16
    """For Visium HD: side of the square bins that are read as spots, in microns."""
    element: str = ""
    """For `spatialdata`: name of its image, `{region}` standing for the region's; empty: the only or the region's own one."""
    table: str = ""
    """For `spatialdata`: name of its table; empty: the only one."""
    system: str = "global"
    """For `spatialdata`: the coordinate system in which image and spots meet; `{region}` stands for the region's name."""
    step: Microns = 100.0
    """For `wsi`: distance between the centres of neighbouring tiles, in microns."""
    mask: Path | None = None
    """For `wsi`: a picture that is white where there is tissue; none: tissue is detected."""
    min_counts: float = Field(default=0.0, ge=0.0)
    """Spots whose counts add up to less than this are left out as a section is read; 0: none. Spots of a query all stay."""
    drop: tuple[str, ...] = ()
    """Spots left out by name, as SECTION/SPOT or in a .csv with the columns section and spot (`outliers.csv` of describe)."""
    annotations: Path | None = None
    """A .csv of labels of spots, such as Loupe's: spot or Barcode, section where there are several, and columns for obs."""
    label: str = ""
    """Column of obs that holds each spot's label: what `loss.task: classify` learns (empty: `label`), what a query votes on."""
    thinnest: PositiveInt = 2
    """For `patches`: those with fewer pixels than this on a side are refused; smaller ones than usual are padded."""
    pixel_limit: PositiveInt = 178_956_970
    """Pictures of more pixels are refused when they must be decoded whole, as a guard against damaged or hostile files."""
    mpp: Annotated[float, Field(ge=1e-4, le=1e4)] | None = None
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
    val: Literal["none", "group", "block", "random"] = "none"
    """What is held out of training to choose the epoch: nothing, one more group of the split, blocks, or (leaking) spots."""
    val_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Under `val: random`: share of each section's spots."""
    blocks: int = Field(default=4, ge=2)
    """Spatial blocks along each side of a section."""
    margin: NonNegativeFloat = 1.0
    """Training spots closer than this many spot pitches to a held-out block are dropped."""


class TilesConfig(Settings):
    """What square of tissue is seen around a spot."""

    pixels: Annotated[PositiveInt, Field(le=8192)] = 224
    """Side of the square picture given to the trunk, in pixels."""
    microns: tuple[Microns, ...] = (155.0,)
    """Side of the square of tissue it shows, in microns; several: one window each, features side by side."""
    padding: PaddingName = "white"
    """What is painted where a tile leaves the slide: white glass, the edge repeated, or a mirror image."""


ChoiceName = Literal["all", "list", "mean", "variance", "hvg"]
NormaliseName = Literal["log1p", "none"]
BatchName = Literal["none", "center", "harmony"]
ScaleName = Literal["none", "zscore", "minmax", "robust"]
AbsentName = Literal["refuse", "skip", "zero"]


class PanelConfig(Settings):
    """Which genes are predicted and how their values are made; everything is fitted on training spots alone."""

    choice: ChoiceName = "variance"
    """Genes taken: all, a list, the highest means, the highest variances, or each section's most variable, joined."""
    size: PositiveInt = 250
    """How many genes (for `hvg`: from each section)."""
    candidates: PositiveInt | None = None
    """First keep this many genes of the highest training mean; the choice is made among them."""
    min_spots: float = Field(default=0.0, ge=0.0, lt=1.0)
    """First drop genes seen in no more than this share of the training spots."""
    include: tuple[str, ...] = ()
    """Genes taken in any case, beside those chosen, such as ERBB2; a named protocol does not allow it."""
    list: Path | None = None
    """A file with one gene a line, for `choice: list`."""
    normalise: NormaliseName = "log1p"
    """`log1p`: log(1 + counts per `target`); `none`: the values as they are in the file."""
    target: PositiveFloat = 10_000.0
    """Total that counts are scaled to before the logarithm."""
    denominator: Literal["all", "panel"] = "all"
    """The total of a spot is taken over all genes of the section, or over the panel's genes alone."""
    pool: float = Field(default=0.0, ge=0.0)
    """Sum the counts of all spots within so many microns of each before normalising, for bins that hold few counts: the tile
    shows far more tissue than one. Spots that `data.min_counts` or `data.drop` left out lend none. It smooths what is scored
    too, so scores with and without are not comparable; 0: off."""
    scale: ScaleName = "zscore"
    """Scaling of each gene for the model; predictions come back on the normalised scale."""
    batch: BatchName = "none"
    """Batch correction between training sections: none, each section's gene means made equal, or Harmony."""
    clip: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Clip each gene to its quantiles [clip, 1 - clip] in the training spots before scaling; 0: no clipping."""
    absent: AbsentName = "skip"
    """A gene of the panel that a test section's files do not list: refuse the section, leave the gene out of its scores
    (`skip`), or read it as 0, which is right where files drop genes without counts (`zero`). Training sections share all
    genes of the panel: it is chosen among the genes that every one of them lists."""
