"""A run: a trained model with everything needed to use it, in a folder."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, final, get_args

import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from bleep import find, registry
from bleep.config import Config, FormName, KindName, SourceName
from bleep.data.batch_correction import Correction
from bleep.data.facts import SectionFacts, places_digest
from bleep.data.labels import classes_of
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError, DataError, MismatchError, WeightsError
from bleep.features.ready import peek
from bleep.files import alone, read_json, whole, write_json, write_text
from bleep.models.backbones import GIVEN
from bleep.models.factory import build_model, build_trunks, stored_trunk, without_weights
from bleep.models.fingerprint import check_behaviour, fingerprint
from bleep.models.image import PLACELESS, READY
from bleep.models.models import Model
from bleep.models.own import called
from bleep.models.stored import with_own_stains
from bleep.records import Leak
from bleep.registry import Origin

CONFIG, PANEL, BATCH, FACTS, MODEL, LOG, STATE, REFERENCE, LOCK = find.NAMES
ENSEMBLE, EPOCHS, STORES, OF_TUNING, newest_run = find.ENSEMBLE, find.EPOCHS, find.STORES, find.OF_TUNING, find.newest_run

BEFORE = {"image": {"precision": "float32", "floor": 0.0, "region": 2, "halo": 0.125}}
"""What runs did that note nothing of it: float32, spreads of features as they were, regions of two windows' side and a halo."""


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """Where a run comes from."""

    version: str
    """Version of bleep that trained it."""
    trunk: str
    """The trunk's name as timm resolved it."""
    train: tuple[SectionFacts, ...]
    val: tuple[SectionFacts, ...]
    test: tuple[str, ...]
    """Names of the sections held out."""
    by: str
    """What was held out together."""
    leak: Leak
    """What training shares with the test tissue."""
    epoch: int = -1
    """Epoch whose weights were kept, from 0; -1 before training."""
    of_epochs: int = 0
    """Epochs of the training in which `optim.keep` kept this run; 0: it is the result of one, or of an older version."""
    parts: tuple[Origin, ...] = ()
    """Where the parts come from that are not bleep's own."""
    reads: str = ""
    """What decides the trunk's features beside its weights; empty in runs of older versions."""
    classes: tuple[str, ...] = ()
    """Labels that were learnt beside the expression, under `loss.labels`."""
    fingerprint: tuple[float, ...] = ()
    """What a trunk of one's own does to a fixed picture, when trained if it learns: see `bleep.models.fingerprint`."""
    places: tuple[str, ...] = ()
    """sha256 of where the spots held out lie, by section, where sections are divided; else empty, as in older runs."""
    losses: tuple[tuple[float, ...], ...] = ()
    """What losses of one's own give for a made-up step, each or none of its numbers: see `bleep.training.tasks.losses_of`."""
    unindexed: bool = False
    """Sent without its index, by `bleep pack --no-reference`: until one is built, a run of both tasks regresses alone."""

    @classmethod
    def of(
        cls,
        split: Split,
        trunk: str,
        parts: tuple[Origin, ...] = (),
        reads: str = "",
        classes: tuple[str, ...] = (),
        column: str = "",
        fingerprint: tuple[float, ...] = (),
    ) -> "Facts":
        """Note down a split, a trunk, parts of other packages, what the trunk reads and does, labels to learn, their column."""
        return cls(
            version=version("bleep-st"),
            trunk=trunk,
            train=tuple(SectionFacts.of(section, column if classes else "") for section in split.train),
            val=tuple(SectionFacts.of(section, column if classes else "") for section in split.val),
            test=tuple(section.name for section in split.test),
            by=split.by,
            leak=split.leak,
            parts=parts,
            reads=reads,
            classes=classes,
            fingerprint=fingerprint,
            places=tuple(map(places_digest, split.test)) if split.by in ("random", "block") else (),
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Facts":
        """Rebuild from JSON.

        Raises:
            DataError: a part is missing or of another kind.

        """
        try:
            if not {"epoch", "leak"} <= set(plain):
                raise DataError(f"{FACTS}: lacks the epoch or what leaks; the run is damaged: train again")
            return TypeAdapter(cls).validate_python(dict(plain))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{FACTS}: lacks or garbles {where!r} ({first['msg']}); the run is damaged: train again") from None


@final
@dataclass(frozen=True, slots=True)
class Run:
    """A model, its panel, its settings and where it comes from."""

    config: Config
    model: Model
    panel: GenePanel
    facts: Facts

    @classmethod
    def new(
        cls, config: Config, panel: GenePanel, split: Split, own: nn.Module | None = None, classes: tuple[str, ...] = ()
    ) -> "Run":
        """Build an untrained run; the seed decides the weights of its heads.

        An `own` network takes the place of `image.trunk`: see `bleep.models.backbones.given`. The `classes` learnt beside the
        expression are those of the training tissue, unless they are given.

        Raises:
            ConfigError: the trunk is unknown or cannot take such tiles.
            WeightsError: the trunk's weights cannot be had.

        """
        image = config.image
        if image.trunk == READY and config.data.features is not None:
            width, encoder = peek(config.data.features)
            image = image.model_copy(update={"trunk": f"{READY}:{width}:{encoder}"})
        torch.manual_seed(config.seed)
        trunk, name = build_trunks(image, config.tiles.pixels, len(config.tiles.microns), own)
        torch.manual_seed(config.seed)
        if config.loss.labels > 0:
            classes = classes or classes_of(split.train, config.data.label)
        does = () if trunk.learns else fingerprint(trunk, config.tiles.pixels)
        facts = Facts.of(split, name, parts_of(config), trunk.reads, classes, config.data.label, does)
        return cls(config, build_model(trunk, len(panel.genes), config, len(classes)), panel, facts)

    def untrained(self, panel: GenePanel, split: Split) -> "Run":
        """Return a run of the same recipe before training, on other tissue; a frozen trunk is shared, another built anew.

        Raises:
            WeightsError: the trunk's weights cannot be had again.

        """
        if self.model.trunk.learns and self.facts.trunk.startswith(GIVEN):
            name = self.facts.trunk.removeprefix(GIVEN)
            raise WeightsError(f"the trunk {name} was given in Python and learns: its initial weights are not available")
        if self.model.trunk.learns:
            return Run.new(self.config, panel, split, classes=self.facts.classes)
        torch.manual_seed(self.config.seed)
        now = self.facts
        model = build_model(with_own_stains(self.model.trunk), len(panel.genes), self.config, len(now.classes))
        facts = Facts.of(split, now.trunk, now.parts, now.reads, now.classes, self.config.data.label, now.fingerprint)
        return Run(self.config, model, panel, facts)

    def __repr__(self) -> str:
        spots = sum(section.spots for section in self.facts.train)
        state = f"epoch {self.facts.epoch + 1}" if self.facts.epoch >= 0 else "untrained"
        trunk = called(self.facts.trunk)
        return (
            f"Run({str(self.config.out)!r}: {self.config.loss.task}, trunk {trunk}, {len(self.panel.genes)} genes, "
            f"{spots} spots of {_listed([section.name for section in self.facts.train])}, {state})"
        )

    @property
    def spec(self) -> TileSpec:
        """How its tiles are cut."""
        return TileSpec.of(self.config.tiles)

    def tiles(self, sections: tuple[Section, ...]) -> Tiles:
        """Return the tiles of sections as the run cuts them, read from its cache where they are kept there."""
        return Tiles(sections, self.spec, self.config.cache / STORES)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.model.parameters()).device

    def finished(self, epoch: int) -> "Run":
        """Return the run with the epoch whose weights it now holds."""
        does = fingerprint(self.model.trunk, self.config.tiles.pixels) if self.model.trunk.learns else self.facts.fingerprint
        return replace(self, facts=replace(self.facts, epoch=epoch, fingerprint=does))

    def weights_digest(self) -> str:
        """Return a sha256 of all weights and their names."""
        joined = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            joined.update(name.encode())
            joined.update(value.detach().cpu().contiguous().numpy().tobytes())
        return joined.hexdigest()

    def save_plan(self, folder: Path) -> None:
        """Write everything but the weights; the facts come first, by which a folder is known to be a run's."""
        write_json(folder / FACTS, asdict(self.facts))
        write_text(folder / CONFIG, yaml.safe_dump(self.config.dump(), sort_keys=False))
        if self.panel.batch is not None:
            self.panel.batch.save(folder / BATCH)
        write_json(folder / PANEL, self.panel.to_dict())

    def save(self, folder: Path) -> None:
        """Write the run; its weights come last, so a folder with weights is whole."""
        self.save_plan(folder)
        with whole(folder / MODEL) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: str | Path, trunk: nn.Module | None = None) -> "Run":
        """Read a run; nothing is fetched from a hub. Its `config.out` is the folder it is in now, wherever it was trained.

        Args:
            folder: where it was written.
            trunk: for a run that was trained on a network given in Python: one that does the same; the run's weights are put
                into a copy of it.

        Raises:
            DataError: the folder is no finished run, a file in it is damaged, or a part of another package is not installed.
            MismatchError: its weights do not fit its settings; or a network of one's own is not the one it was trained on.

        """
        folder = Path(folder)
        if not (folder / MODEL).is_file():
            raise DataError(f"{folder}: is not a trained run ({_instead(folder)})")
        noted = read_json(folder / FACTS, "the run's facts")
        _check_parts(folder, noted)
        try:
            config = Config.load(BEFORE, folder / CONFIG).model_copy(update={"out": folder})
        except ConfigError as error:
            raise DataError(f"{folder}: its settings cannot be read: {error}") from None
        plain = read_json(folder / PANEL, "the run's panel")
        panel = GenePanel.from_dict(plain, Correction.load(folder / BATCH) if "batch" in plain else None)
        facts = Facts.from_dict(noted)
        if facts.trunk.startswith(GIVEN) != (trunk is not None):
            raise DataError(f"{folder}: {_other_trunk(facts.trunk)}")
        image = config.image if trunk is not None else without_weights(config.image, facts.trunk)
        try:
            weights = load_file(folder / MODEL)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{folder / MODEL}: is damaged ({error}); train again") from None
        windows, parts = len(config.tiles.microns), 1 + len(config.image.context)
        width = 0 if (known := weights.get("standardize.mean")) is None else known.numel() // (windows * parts)
        stored = stored_trunk(image, config.tiles.pixels, width, str(folder / MODEL)) if width and trunk is None else None
        built = stored or build_trunks(image, config.tiles.pixels, windows, trunk)[0]
        if PLACELESS in built.reads and PLACELESS not in facts.reads:
            raise MismatchError(
                f"{folder}: was trained when tokens of shared regions kept their positions (image.sharing tokens), and this "
                "version reads them without; train again"
            )
        model = build_model(built, len(panel.genes), config, len(facts.classes))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            detail = str(error).splitlines()[1].strip()[:200]
            raise MismatchError(f"{folder / MODEL}: does not fit {folder / CONFIG}: {detail}") from None
        model.eval()
        check_behaviour(str(folder), facts.fingerprint, facts.trunk, facts.parts, built, config.tiles.pixels)
        return cls(config, model, panel, facts)


def parts_of(config: Config) -> tuple[Origin, ...]:
    """Return where the parts come from that a configuration names and that are not bleep's own."""
    others = registry.names("trunks")
    asked: dict[registry.KindName, list[str]] = {
        "readers": [config.data.source] if config.data.source not in get_args(SourceName) else [],
        "trunks": [name for name in (config.image.trunk, *config.image.also) if name in others],
        "losses": [*([config.loss.form] if config.loss.form not in get_args(FormName) else []), *config.loss.more],
        "indexes": [config.index.kind] if config.index.kind not in get_args(KindName) else [],
    }
    return tuple(registry.origin(kind, name) for kind, names in asked.items() for name in names)


def _check_parts(folder: Path, noted: Mapping[str, Any]) -> None:
    """Refuse a run whose parts of other packages are not there, before its settings, which name them, are read.

    Raises:
        DataError: naming the part and its package.

    """
    try:
        parts = TypeAdapter(tuple[Origin, ...]).validate_python(noted.get("parts", ()))
    except ValidationError:
        raise DataError(f"{folder / FACTS}: garbles where its parts come from; the run is damaged: train again") from None
    for part in parts:
        if not part.name.startswith(GIVEN) and part.kind in registry.KINDS and part.name not in registry.names(part.kind):
            raise DataError(f"{folder}: its part {part.name} (bleep.{part.kind}) is of {part.describe()}")


def _other_trunk(name: str) -> str:
    if name.startswith(GIVEN):
        kind = name.removeprefix(GIVEN)
        return (
            f"its trunk is a {kind} that was given in Python: load it there by bleep.Run.load(folder, trunk=...) with the same "
            "network, or list it among the bleep.trunks of a package and train by that name"
        )
    return f"its trunk is {name}, which is built by its name: leave out trunk"


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Return names, the later ones counted where there are many."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep others from training in a run's folder, or calibrating it; the lock ends with the process, however that ends.

    Raises:
        DataError: another process does so, or the folder cannot be written to.

    """
    with alone(folder / LOCK, f"{folder}: another process is training or calibrating there; wait, or choose another --out"):
        yield


def _instead(folder: Path) -> str:
    """Return what is there instead of a trained run."""
    if not folder.is_dir():
        return "no such folder"
    if (folder / ENSEMBLE).is_file():
        return "it is an ensemble: name one of its runs"
    if (folder / CONFIG).is_file():
        return "training there has not finished: add --resume to its training command"
    return "no run was ever begun there"
