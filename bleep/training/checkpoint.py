"""What training writes down: its state, to be resumed, and its curves for trackers."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from accelerate import Accelerator
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from bleep.config import Config
from bleep.errors import ConfigError, DataError
from bleep.files import sweep, whole, write_text
from bleep.models.image import ImageTrunk

log = logging.getLogger(__name__)

Tensors = dict[str, Shaped[Tensor, "..."]]
_NONE: Mapping[str, Tensor] = MappingProxyType({})
_AVERAGE = "average."


@final
@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after an epoch."""

    epoch: int
    """Last epoch done, from 0; -1: none."""
    best_epoch: int
    """Epoch of the best validation score so far, or the last one without validation."""
    best_score: float
    """That score; minus infinity before the first."""
    falls: int = 0
    """How often the learning rate has fallen, under `schedule: plateau`."""
    stale: int = 0
    """Epochs since then without a better score, cooling ones not among them."""
    cooling: int = 0
    """Epochs to come that are not counted, because the rate has just fallen."""
    mark: float = float("-inf")
    """The score that a better one is compared with."""

    @classmethod
    def start(cls) -> "Progress":
        """Return the state before the first epoch."""
        return cls(-1, -1, float("-inf"))


@final
@dataclass(frozen=True, slots=True)
class CheckpointLog:
    """The files of one training."""

    log: Path
    state: Path

    def write(self, line: dict[str, float | int]) -> None:
        """Add one line to the log.

        Raises:
            DataError: it cannot be written.

        """
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DataError(
                f"{self.log}: cannot be written ({error.strerror or error}); free some space and go on with --resume"
            ) from None

    def forget_after(self, epoch: int) -> None:
        """Drop log lines of epochs after this one, and a last line cut short: they will be written again.

        Files that a killed process left half written go too.
        """
        for left in (*self.state.glob(".*.part.*"), *self.log.parent.glob(f".{self.log.name}.*.part.*")):
            left.unlink(missing_ok=True)
        for folder in (self.state, self.log.parent):
            sweep(folder)
        kept = []
        # What is no text is no line either.
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []:
            try:
                if json.loads(line)["epoch"] <= epoch:
                    kept.append(line)
            except (ValueError, KeyError, TypeError, RecursionError):
                break
        write_text(self.log, "".join(line + "\n" for line in kept))

    def save(
        self, model: nn.Module, optimizer: Optimizer, progress: Progress, average: Mapping[str, Shaped[Tensor, "..."]] = _NONE
    ) -> None:
        """Write learnt weights, their average, optimizer and progress in one file, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in learnt(model).items()}
        tensors |= {f"{_AVERAGE}{name}": value for name, value in average.items()}
        for number, parameter in enumerate(_parameters(optimizer)):
            tensors |= {f"optim.{number}.{key}": value for key, value in optimizer.state[parameter].items()}
        _write(self.state / "last.safetensors", tensors, {key: repr(value) for key, value in asdict(progress).items()})

    def resume(self, model: nn.Module, optimizer: Optimizer, average: Mapping[str, Shaped[Tensor, "..."]] = _NONE) -> Progress:
        """Load what `save` wrote, in place, and return where training stood; without a file, the start.

        Raises:
            DataError: the file is damaged or is of another model.

        """
        path = self.state / "last.safetensors"
        if not path.exists():
            return Progress.start()
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
            tensors = load_file(path)
            _put(model, {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")})
            _fill(average, {key.removeprefix(_AVERAGE): value for key, value in tensors.items() if key.startswith(_AVERAGE)})
            for number, parameter in enumerate(_parameters(optimizer)):
                start = f"optim.{number}."
                found = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
                # A fused kernel of CUDA counts steps where its parameters are; every other counts on the CPU.
                place = parameter.device if optimizer.defaults.get("fused") else torch.device("cpu")
                optimizer.state[parameter] = {
                    key: value.to(place) if key == "step" else _laid_out(value, parameter) for key, value in found.items()
                }
            falls = {key: int(facts[key]) for key in ("falls", "stale", "cooling") if key in facts}
            mark = float(facts.get("mark", "-inf"))
            return Progress(int(facts["epoch"]), int(facts["best_epoch"]), float(facts["best_score"]), **falls, mark=mark)
        except (SafetensorError, LookupError, RuntimeError, ValueError, TypeError) as error:
            line = str(error).splitlines()[0]
            raise DataError(f"{path}: cannot be resumed from ({line}); delete {self.state} to start anew") from None

    def save_best(self, model: nn.Module) -> None:
        """Keep these weights as the best."""
        _write(self.state / "best.safetensors", learnt(model), {})

    def load_best(self, model: nn.Module) -> None:
        """Bring back the best weights."""
        _put(model, load_file(self.state / "best.safetensors"))


def _laid_out(value: Shaped[Tensor, "..."], parameter: nn.Parameter) -> Shaped[Tensor, "..."]:
    """Return a moment where its parameter is and as that lies in memory: fused steps go through both without looking."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def learnt(model: nn.Module) -> Tensors:
    """Return what training changes: parameters that learn, buffers outside the trunk, and statistics of BatchNorm in it."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names |= {name for name, _ in model.named_buffers() if ".trunk." not in f".{name}"}
    for place, trunk in model.named_modules():
        if isinstance(trunk, ImageTrunk) and trunk.learns and trunk.norms_learn:
            norms = [(at, one) for at, one in trunk.named_modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
            names |= {f"{place}.{at}.{name}" for at, norm in norms for name, _ in norm.named_buffers()}
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items() if name in names}


def _put(model: nn.Module, tensors: Tensors) -> None:
    learning = set(learnt(model))
    _fill({name: value for name, value in model.state_dict().items() if name in learning}, tensors)


def _fill(places: Mapping[str, Shaped[Tensor, "..."]], tensors: Tensors) -> None:
    if set(tensors) != set(places):
        odd = sorted(set(tensors) ^ set(places))[0]
        raise KeyError(f"{odd} is on one side only")
    with torch.no_grad():
        for name, value in places.items():
            value.copy_(tensors[name])


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _write(path: Path, tensors: Tensors, facts: dict[str, str]) -> None:
    with whole(path) as temporary:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, temporary, facts)


PROJECT = "bleep"
"""Name under which runs are tracked."""
CURVES = "events.out.tfevents.*"
"""Files of tensorboard below the folder of that name in a run's; it draws all that lie there as one curve."""


def accelerator_of(config: Config) -> Accelerator:
    """Return the accelerator of this process, which knows the tracker of the settings.

    Raises:
        DataError: the tracker is not installed.
        ConfigError: half precision was asked for, and there is no GPU.

    """
    name = config.optim.tracker
    half = os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp16"
    if half and torch.accelerator.current_accelerator(check_available=True) is None:
        raise ConfigError("mixed precision fp16 needs a GPU: launch with --mixed_precision bf16 or no on a CPU")
    if name == "none":
        return Accelerator()
    if find_spec(name) is None:
        raise DataError(f"optim.tracker {name} needs the extra track: pip install -e '.[track]' {name} in bleep's clone")
    return Accelerator(log_with=name, project_dir=config.out)


def begin(accelerator: Accelerator, config: Config, *, resume: bool = False) -> None:
    """Tell the tracker, if there is one, that a training begins with these settings; without `resume`, old curves go.

    For the main process alone.

    Raises:
        DataError: the tracker cannot begin.

    """
    name = config.optim.tracker
    if name == "none":
        return
    old = [] if resume else list((config.out / PROJECT).rglob(CURVES))
    try:
        accelerator.init_trackers(PROJECT, flat(config.dump()))
    except Exception as error:  # whatever the tracker raises
        raise DataError(
            f"optim.tracker {name} cannot begin ({_line(error)}); see to it, or set optim.tracker to none: {config.out} keeps "
            "a log of its own"
        ) from error
    for path in old:
        path.unlink(missing_ok=True)


def tell(accelerator: Accelerator, line: Mapping[str, float | int], epoch: int) -> None:
    """Give the trackers the log's line of an epoch; one that fails is told of no more."""
    with _without_trackers(accelerator):
        accelerator.log(dict(line), step=epoch)


def end(accelerator: Accelerator) -> None:
    """Tell the trackers that training has ended, well or not: who begins again in this process begins a new curve."""
    with _without_trackers(accelerator):
        for tracker in accelerator.trackers:
            tracker.finish()
    accelerator.trackers.clear()


@contextlib.contextmanager
def _without_trackers(accelerator: Accelerator) -> Iterator[None]:
    """Go on without trackers once one fails: the run has its own log, and no curve is worth a training."""
    try:
        yield
    except Exception as error:  # whatever a tracker raises: its server is gone, its disk is full
        names = ", ".join(tracker.name for tracker in accelerator.trackers)
        log.warning(
            "optim.tracker %s failed (%s); training goes on without it, and the run's own log has each epoch",
            names,
            _line(error),
        )
        accelerator.trackers.clear()


def _line(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def of_tracker(path: Path) -> bool:
    """Return whether what lies below a run's folder `PROJECT` is a tracker's."""
    return path.is_dir() or path.name == "hparams.yml" or path.match(CURVES)


def flat(tree: Mapping[str, Any], at: str = "") -> dict[str, str | int | float | bool]:
    """Return a tree of settings as dotted names with plain values, lists and nothing as text."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{at}{key}.")
        else:
            found[f"{at}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
