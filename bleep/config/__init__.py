"""Every setting, in one frozen typed tree; the text under a field is its help, its docs line and its hint."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from bleep.config.base import Settings, described, merged, read_yaml, sentence
from bleep.config.data import (
    AbsentName,
    BatchName,
    ChoiceName,
    DataConfig,
    NormaliseName,
    PaddingName,
    PanelConfig,
    ScaleName,
    SourceName,
    SplitName,
    TilesConfig,
)
from bleep.config.model import (
    ABSTAIN,
    FLOOR,
    BeforeName,
    DtypeName,
    ExpressionConfig,
    GpuName,
    GpusName,
    HeadConfig,
    ImageConfig,
    IndexConfig,
    KeysName,
    KindName,
    LayersName,
    MemberName,
    PrecisionName,
    PredictorName,
    QueryConfig,
    StainName,
    StoreName,
    TrainName,
    WeightsName,
)
from bleep.config.training import (
    FormName,
    LossConfig,
    OptimConfig,
    OptimizerName,
    ScheduleName,
    TargetsName,
    TaskName,
    TermName,
    TrackerName,
)
from bleep.errors import ConfigError

__all__ = [
    "ABSTAIN",
    "FLOOR",
    "AbsentName",
    "BatchName",
    "BeforeName",
    "ChoiceName",
    "Config",
    "DataConfig",
    "DtypeName",
    "ExpressionConfig",
    "FormName",
    "GpuName",
    "GpusName",
    "HeadConfig",
    "ImageConfig",
    "IndexConfig",
    "KeysName",
    "KindName",
    "LayersName",
    "LossConfig",
    "MemberName",
    "NormaliseName",
    "OptimConfig",
    "OptimizerName",
    "PaddingName",
    "PanelConfig",
    "PrecisionName",
    "PredictorName",
    "QueryConfig",
    "ScaleName",
    "ScheduleName",
    "SourceName",
    "SplitName",
    "StainName",
    "StoreName",
    "TargetsName",
    "TaskName",
    "TermName",
    "TilesConfig",
    "TrackerName",
    "TrainName",
    "WeightsName",
    "describe_fields",
]


_PACKAGE = Path(__file__).resolve().parents[1]
PLACES = (_PACKAGE.parent / "configs", _PACKAGE / "configs")
"""Where recipes may be: beside the package in a checkout, inside it once installed."""
NO_RECIPES = "accelerate"
"""A folder of files for `accelerate launch --config_file`, which are no recipes."""


def recipes_folder() -> Path:
    """Return the folder of the recipes that came with the package.

    Raises:
        ConfigError: the package was installed without them.

    """
    for place in PLACES:
        # A folder called configs beside an installed package is somebody else's.
        if (place / "toy.yaml").is_file() and (place.parent == _PACKAGE or (place.parent / "pyproject.toml").is_file()):
            return place
    raise ConfigError("the recipes are missing from this installation of bleep; install it again")


def recipe_names() -> list[str]:
    """Return the names of all recipes and overlays, those without a folder first."""
    folder = recipes_folder()
    found = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted((name for name in found if not name.startswith(f"{NO_RECIPES}/")), key=lambda name: ("/" in name, name))


def described_recipes() -> Iterator[tuple[str, str]]:
    """Yield each recipe's name and the first sentence of the comment it begins with."""
    folder = recipes_folder()
    for name in recipe_names():
        words: list[str] = []
        for line in (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#") or line.startswith("#   "):  # the end, or a command as an example
                break
            words += line.removeprefix("#").split()
        yield name, re.split(r"(?<!\.)\. ", " ".join(words))[0].rstrip(".:")


def find_recipe(given: Path) -> Path:
    """Return the file meant by a path or by a recipe's name; a file that exists wins.

    `her2st-c`, `her2st-c.yaml` and `configs/her2st-c.yaml` all find the recipe that came with the package when there is no
    such file below the working folder.

    Raises:
        ConfigError: there is neither such a file nor such a recipe.

    """
    if given.exists() and not given.is_dir():
        return given
    name = given.as_posix().removeprefix("./").removeprefix("configs/").removesuffix(".yaml")
    folder = recipes_folder()
    packaged = folder / f"{name}.yaml"
    if name and not given.is_absolute() and ".." not in given.parts and packaged.is_file():
        return packaged
    if given.exists():
        raise ConfigError(f"{given}: cannot be read as a configuration file (it is a folder)")
    near = get_close_matches(name, recipe_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else "`bleep config list` names the recipes that came with bleep"
    raise ConfigError(f"{given}: no such configuration file, and no recipe of that name; {hint}")


CLASSES: Mapping[str, Any] = {
    "choice": "all",
    "normalise": "none",
    "scale": "none",
    "batch": "none",
    "clip": 0.0,
    "min_spots": 0.0,
}
"""What the panel is under `loss.task: classify`."""


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

    @model_validator(mode="before")
    @classmethod
    def _labels_as_they_are(cls, tree: Any) -> Any:
        """Under `loss.task: classify` the panel is of classes, which are neither chosen nor scaled."""
        loss = tree.get("loss") if isinstance(tree, Mapping) else None
        task = loss.get("task") if isinstance(loss, Mapping) else getattr(loss, "task", None)
        if task != "classify":
            return tree
        given = tree.get("panel") or {}
        return {**tree, "panel": {**CLASSES, **given}} if isinstance(given, Mapping) else tree

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.head.components and (self.loss.task != "classify" or self.image.standardize != "train"):
            raise ValueError("head.components is of a classifier on standardised features: set loss.task to classify and "
                             "image.standardize to train, or it to 0")  # fmt: skip
        if self.loss.task == "classify":
            for key, value in CLASSES.items():
                if getattr(self.panel, key) != value:
                    raise ValueError(
                        f"loss.task is classify, whose panel is of classes, but panel.{key} is {getattr(self.panel, key)}: "
                        f"leave it out, or set it to {value}"
                    )
        if self.loss.labels > 0 and not self.data.label:
            raise ValueError("loss.labels learns labels, but data.label names no column of obs: name one, or set it to 0")
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
        if self.panel.pool and (self.panel.normalise != "log1p" or self.loss.nb > 0):
            raise ValueError(
                f"panel.pool sums counts before they are normalised, but panel.normalise is {self.panel.normalise} and loss.nb "
                f"{self.loss.nb:g}: set them to log1p and 0, or panel.pool to 0"
            )
        if self.loss.nb > 0 and (self.panel.normalise != "log1p" or self.panel.batch != "none"):
            raise ValueError(
                f"loss.nb is a likelihood of counts, but panel.normalise is {self.panel.normalise} and panel.batch is "
                f"{self.panel.batch}: set them to log1p and none, or loss.nb to 0"
            )
        self._agree_on_features()
        if self.image.sharing == "tokens" and self.query.views > 1:
            raise ValueError(
                f"query.views is {self.query.views}, but image.sharing is tokens, which sees a tile as it lies: "
                "set query.views to 1, or image.sharing to none"
            )
        if self.image.standardize == "section" and self.image.train != "frozen":
            raise ValueError("image.standardize is section, which needs image.train frozen: use train or none")
        return self

    def _agree_on_features(self) -> None:
        """Refuse what cannot be asked of ready-made features."""
        if self.image.trunk != "features":
            return
        if self.data.features is None:
            raise ValueError("image.trunk is features, but data.features names no folder of .h5 files: set it")
        for name, given, needed in (
            ("image.train", self.image.train, "frozen"),
            ("image.also", list(self.image.also), []),
            ("image.layer", self.image.layer, None),
            ("image.output", self.image.output, "pooled"),
            ("image.stain", self.image.stain, "none"),
            ("image.per_window", self.image.per_window, "shared"),
            ("windows of tiles.microns", len(self.tiles.microns), 1),
            ("query.views", self.query.views, 1),
        ):
            if given != needed:
                raise ValueError(f"image.trunk is features, which are ready-made, but {name} is {given}: set it to {needed}")

    @classmethod
    def load(cls, *parts: str | Path | Mapping[str, Any]) -> "Config":
        """Merge YAML files, recipes by name and mappings, the later winning, and check the result.

        Raises:
            ConfigError: a file is missing or not YAML, a key is unknown, or a value is out of range.

        """
        tree: dict[Any, Any] = {}
        named = ", ".join(str(part) for part in parts if not isinstance(part, Mapping))
        try:
            for part in parts:
                tree = merged(tree, part if isinstance(part, Mapping) else read_yaml(find_recipe(Path(part))))
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
