"""Histology foundation models by the name of their page on the Hugging Face hub: how timm builds them, and what they expect.

Architecture, colours and pooling are those of the loaders in mahmoodlab/TRIDENT (trident/patch_encoder_models/load.py) and
of each model's page. Nothing of theirs could be fetched here: loading is strict, so weights that do not fit are refused.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, final

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
