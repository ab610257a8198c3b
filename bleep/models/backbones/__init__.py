"""What is asked of every trunk, the pretrained ones of pathology, and a module for each library that trunks come from."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

from jaxtyping import Float
from torch import Tensor, nn, no_grad

from bleep import registry
from bleep.config import ImageConfig
from bleep.errors import BleepError, ConfigError, DataError, WeightsError


class Backbone(NamedTuple):
    """A network ready to be read, from whichever library it is."""

    model: Any
    """The network, its weights loaded, cut where it is read, adapters in place."""
    read: Callable[[Any, Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch channels"]]
    """Says the features of normalised pixels; the network is given to it, so that copies of a trunk stay apart."""
    mean: tuple[float, ...]
    """Mean of red, green and blue that its weights expect, of 1."""
    std: tuple[float, ...]
    """Their spread."""
    blocks: list[list[str]]
    """Names of each block's parameters, the stem first."""
    name: str
    """Name under which it can be built again."""
    grid: Callable[[Any, Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch channels rows columns"]] | None = None
    """Says the features of each position, whose mean `read` is; none: it has no grid where it is read."""
    norms_learn: bool = False
    """Whether BatchNorm follows the training tiles, as a net must that starts from nothing; else it keeps what it came with."""


GIVEN = "given:"
"""Begins the name of a trunk that was given in Python, before the name of its class."""


MODULE = "put a function into the forward of one"


def given(model: object, config: ImageConfig, name: str = "") -> Backbone:
    """Return a copy of a network of somebody else: it is read as it is, and takes red, green and blue from 0 to 1.

    What is trained is the copy: the same network given to several trainings begins each as it is.

    Args:
        model: any module that gives `[batch, channels]` for `[batch, 3, height, width]`.
        config: of it, `train` and `lora_rank` are used.
        name: under which it can be built again; without one it is named by its class.

    Raises:
        ConfigError: it is no module, or none that can be copied; or a layer or logits are asked for, which only networks of
            timm and torchvision have.

    """
    if not isinstance(model, nn.Module):
        named = getattr(model, "__name__", type(model).__name__)
        what, way = ("a class", f"give an instance of it: {named}()") if isinstance(model, type) else ("no module", MODULE)
        raise ConfigError(f"the trunk {named} is {what}; expected a torch.nn.Module: {way}")
    try:
        with no_grad():  # The parameters of a scripted copy would otherwise not be its own.
            model = copy.deepcopy(model)
    except Exception as error:  # whatever its parts raise that cannot be copied; what a package has made is made anew each time
        if not name:
            raise ConfigError(
                f"the trunk {type(model).__name__} cannot be copied ({line(error)}), and a copy is what is trained; let "
                "copy.deepcopy copy it, such as by keeping open files, locks and computed tensors out of its attributes"
            ) from error
    if config.layer is not None or config.output != "pooled":
        what = "image.output" if config.layer is None else "image.layer"
        raise ConfigError(f"{what} is for trunks of timm and torchvision; {name or type(model).__name__} is read as it is")
    if config.train == "lora":
        add_adapters(model, name or type(model).__name__, config.lora_rank)
    parameters = [name for name, _ in model.named_parameters()]
    heads = dict.fromkeys(path.partition(".")[0] for path in parameters)
    blocks = [[path for path in parameters if path.partition(".")[0] == head] for head in heads]
    kind = type(model)
    return Backbone(model, _as_it_is, (0.0,) * 3, (1.0,) * 3, blocks, name or f"{GIVEN}{kind.__module__}.{kind.__qualname__}")


def _as_it_is(model: Any, pixels: Float[Tensor, "batch 3 height width"]) -> Any:
    return model(pixels)


def from_package(config: ImageConfig, pixels: int) -> Backbone:
    """Build a trunk that another package lists among its `bleep.trunks`: `make(weights, pixels)` gives a module or a Backbone.

    Raises:
        ConfigError: the package gives something else, or cannot make it.

    """
    name, make = config.trunk, registry.load("trunks", config.trunk, noted=True)
    package = registry.origin("trunks", name).package
    try:
        made = make(weights=config.weights, pixels=pixels)
    except (BleepError, OSError):
        raise  # Of a file, the system's own words say which and why.
    except Exception as error:  # whatever the other package raises
        raise ConfigError(f"image.trunk {name}: {package} cannot make it ({type(error).__name__}: {line(error)})") from error
    if isinstance(made, Backbone):
        with contextlib.suppress(Exception), no_grad():  # One network for several trainings would carry over what it learnt.
            made = made._replace(model=copy.deepcopy(made.model))
        return made._replace(name=name)
    if isinstance(made, nn.Module):
        return given(made, config, name)
    raise ConfigError(f"image.trunk {name}: {package} gave a {type(made).__name__}; expected a torch module or a Backbone")


def whole_blocks(blocks: list[list[str]], model: Any) -> list[list[str]]:
    """Join what ends a network and holds no more than norms and scales to the block before it, which it belongs to."""
    flat = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    joined = list(blocks)
    while len(joined) > 1 and flat.issuperset(joined[-1]):
        last = joined.pop()
        joined[-1] = [*joined[-1], *last]
    return joined


@contextlib.contextmanager
def clear_errors(config: ImageConfig, pixels: int, help_with_weights: str) -> Iterator[None]:
    """Say in one sentence what a library could not do; `help_with_weights` is the way out where they cannot be fetched.

    Raises:
        ConfigError: the network cannot take tiles of so many pixels.
        WeightsError: the weights could not be fetched.

    """
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    refused = f"image.trunk {config.trunk} cannot take tiles of {pixels} pixels (tiles.pixels)"
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"{refused}: {line(error)}") from None
    except (OSError, RuntimeError) as error:
        if config.weights != "hub":
            raise ConfigError(f"{refused}: {line(error)}") from None
        kind = type(error).__name__
        raise WeightsError(
            f"the weights of {config.trunk} could not be fetched from the model hub ({kind}): {help_with_weights}"
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0]


def check_file(path: Path, key: str) -> None:
    """Refuse weights that are not there.

    Raises:
        WeightsError: there is no such file.

    """
    if not path.is_file():
        raise WeightsError(f"{key}: {path}: no such file; give a local .safetensors or .pth file, hub or random")


def check_weights(config: ImageConfig) -> None:
    """Refuse files of weights that are not there, before any tissue is read; a package's trunk knows its own weights.

    Raises:
        WeightsError: there is no such file.

    """
    pairs = [("image.weights", config.trunk, config.weights)]
    pairs += [("image.also_weights", name, weights) for name, weights in zip(config.also, config.also_weights, strict=False)]
    for key, name, weights in pairs:
        ours = name not in registry.names("trunks")
        if ours and weights not in ("hub", "random") and not Path(weights).is_dir():
            check_file(Path(weights), key)


@contextlib.contextmanager
def clear_weights(path: Path, name: str) -> Iterator[None]:
    """Say in one sentence why weights of a local file are refused.

    Raises:
        WeightsError: there is no such file, it is no file of weights, or they do not fit.

    """
    check_file(path, "image.weights")
    try:
        yield
    except RuntimeError as error:
        details = [text.strip() for text in str(error).splitlines()[1:3]]
        if not details:
            raise WeightsError(f"{path}: cannot be read as weights ({line(error)[:100]}); is the file whole?") from None
        raise WeightsError(f"{path}: does not fit the trunk {name}: {' '.join(details)[:300]}") from None
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        raise WeightsError(f"{path}: cannot be read as weights ({type(error).__name__}); is the file whole?") from None


MARK = ".lora_"
"""Stands in the names of adapters, and of nothing else."""


def add_adapters(model: nn.Module, name: str, rank: int) -> None:
    """Put an adapter beside every linear layer of every attention, in place; at first they change nothing.

    Raises:
        ConfigError: the trunk has no such attention.
        DataError: peft is not installed.

    """
    places = [
        path for path, module in model.named_modules() if isinstance(module, nn.Linear) and path.split(".")[-2:-1] == ["attn"]
    ]
    if not places:
        raise ConfigError(
            f"image.train is lora, but {name} has no attention that adapters could stand beside: "
            "use a vision transformer, or set image.train to last or full"
        )
    if importlib.util.find_spec("peft") is None:
        raise DataError("image.train lora needs the extra lora: pip install -e '.[lora]' in bleep's clone")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

    settings: Any = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=places, lora_dropout=0.0)
    peft.inject_adapter_in_model(settings, model)


def check_reached(model: nn.Module, name: str, output: Any) -> None:
    """Refuse a trunk whose attention reads its weights past the adapters, which would then never learn.

    Raises:
        ConfigError: some adapter has no part in this output.

    """
    import torch

    adapters = [parameter for path, parameter in model.named_parameters() if MARK in path]
    if any(gradient is None for gradient in torch.autograd.grad(output.sum(), adapters, allow_unused=True)):
        raise ConfigError(
            f"image.train is lora, but the attention of {name} goes past adapters: set image.train to last or full"
        )


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))


@final
@dataclass(frozen=True, slots=True)
class Foundation:
    """How one model is built."""

    architecture: str
    """timm's name."""
    licence: str
    """As its page says."""
    gated: bool
    """Whether its licence must be accepted before its weights are given."""
    options: dict[str, Any] = field(default_factory=dict)
    """What differs from timm's own."""
    colours: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    """Mean and spread of red, green and blue."""
    swiglu: bool = False
    """Whether its perceptrons are SwiGLU with SiLU, where timm's are not."""
    stem: Literal["patches", "convolutions"] = "patches"
    """How pixels become tokens."""
    tokens: Literal["class", "class and patches"] = "class"
    """What is read at the end: timm's own pooling, or the class token beside the mean of the patches."""
    hub: str = ""
    """Where weights in timm's names lie, when not on its own page."""


_UNI = {"init_values": 1e-5}
_VIRCHOW = {"init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": ""}
_OPTIMUS = {"init_values": 1e-5, "global_pool": "token"}
FOUNDATION: dict[str, Foundation] = {
    "MahmoodLab/UNI": Foundation("vit_large_patch16_224", "CC BY-NC-ND 4.0", True, _UNI),
    "MahmoodLab/UNI2-h": Foundation(
        "vit_giant_patch14_224",
        "CC BY-NC-ND 4.0",
        True,
        _UNI | {"depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 5.33334, "no_embed_class": True, "reg_tokens": 8},
        swiglu=True,
    ),
    "paige-ai/Virchow": Foundation(
        "vit_huge_patch14_224", "Apache-2.0", True, _VIRCHOW, swiglu=True, tokens="class and patches"
    ),
    "paige-ai/Virchow2": Foundation(
        "vit_huge_patch14_224",
        "CC BY-NC-ND 4.0",
        True,
        _VIRCHOW | {"reg_tokens": 4},
        swiglu=True,
        tokens="class and patches",
    ),
    "bioptimus/H-optimus-0": Foundation("vit_giant_patch14_reg4_dinov2", "Apache-2.0", True, _OPTIMUS, OPTIMUS),
    "bioptimus/H-optimus-1": Foundation("vit_giant_patch14_reg4_dinov2", "CC BY-NC-ND 4.0", True, _OPTIMUS, OPTIMUS),
    "prov-gigapath/prov-gigapath": Foundation(
        "vit_giant_patch14_dinov2",
        "Apache-2.0, and its page: research only",
        True,
        {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334},
    ),
    "owkin/phikon": Foundation(
        "vit_base_patch16_224", "Owkin non-commercial", False, hub="1aurent/vit_base_patch16_224.owkin_pancancer"
    ),
    "1aurent/swin_tiny_patch4_window7_224.CTransPath": Foundation(
        "swin_tiny_patch4_window7_224", "GPL-3.0", False, stem="convolutions"
    ),
}
"""By the name of the page, without `hf-hub:`."""
OTHERS = {
    "MahmoodLab/CONCH": "is loaded by its own package `conch`, not by timm",
    "MahmoodLab/conchv1_5": "is loaded by its own code, not by timm",
    "owkin/phikon-v2": "is kept in the names of the library transformers, not timm's",
}
"""Models that are asked for by name and cannot be had through timm, and why."""
PREFIXES = ("hf-hub:", "hf_hub:")


def page(name: str) -> str:
    """Return a trunk's name without the prefix of the hub, in the page's own spelling where it is known."""
    bare = next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)
    spelt = {known.lower(): known for known in (*FOUNDATION, *OTHERS)}
    return spelt.get(bare.lower(), bare)


def help_with_weights(name: str) -> str:
    """Return what to do when a model's weights cannot be fetched."""
    found = FOUNDATION.get(page(name))
    local = "set image.weights to a local .safetensors or .pth file, or to random"
    if found is None or not found.gated:
        return f"with no network, {local}"
    return (
        f"they are gated ({found.licence}): accept the licence at https://huggingface.co/{page(name)}, "
        f"log in with `hf auth login`, and be online; or {local}"
    )
