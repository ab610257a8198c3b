"""Which genes are predicted, and how their values are made."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from bleep.config.base import Settings

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
