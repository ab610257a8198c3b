"""The whole tree of settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from bleep.errors import ConfigError
from bleep.fields import described, sentence
from bleep.recipes import merged, read_yaml
from bleep.settings.base import Settings
from bleep.settings.data import DataConfig, TilesConfig
from bleep.settings.model import ExpressionConfig, HeadConfig, ImageConfig
from bleep.settings.panel import PanelConfig
from bleep.settings.prediction import IndexConfig, QueryConfig
from bleep.settings.training import LossConfig, OptimConfig


class Config(Settings):
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
            part = "holds nothing out" if self.data.split == "none" else "takes the part that data.fold says"
            raise ValueError(f"data.test names groups, but data.split {self.data.split} {part}: empty it (a bare --data.test)")
        if self.optim.keep and max(self.optim.keep) > self.optim.epochs:
            raise ValueError(
                f"optim.keep names epoch {max(self.optim.keep)}, but optim.epochs is {self.optim.epochs}: raise optim.epochs"
            )
        if self.loss.nb > 0 and (self.panel.normalise != "log1p" or self.panel.batch != "none"):
            raise ValueError(
                f"loss.nb is a likelihood of counts, but panel.normalise is {self.panel.normalise} and panel.batch is "
                f"{self.panel.batch}: set them to log1p and none, or loss.nb to 0"
            )
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
