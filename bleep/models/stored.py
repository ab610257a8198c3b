"""The frozen trunk of a trained run, whose network is built only when a tile must pass through it."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bleep.errors import MismatchError
from bleep.models.image import FusedTrunk, ImageTrunk, ReadyTrunk, StainTarget


@final
class StoredTrunk(nn.Module):
    """Stands for a frozen trunk with its weights, which are all that its digest and the cache of features ask for.

    Building a network imports timm or torchvision and takes seconds; where all features of a query are cached, no tile
    passes through it, and it is never built. Whatever else is asked of it builds it.
    """

    def __init__(
        self, build: Callable[[], ImageTrunk], *, width: int, reads: str, layer: int | None, stain: StainTarget, source: str
    ) -> None:
        """Take how to build it, and what is known of it without.

        Args:
            build: returns the untrained trunk; its weights are put into it afterwards.
            width: features of one window.
            reads: what decides its features beside its weights.
            layer: depth the features are read at; none: the pooled last layer.
            stain: what tiles' stains are brought to those of the training tiles by.
            source: where the weights are from, for messages.

        """
        super().__init__()
        self.width, self.reads, self.layer, self.stain = width, reads, layer, stain
        self.learns, self.shares, self.device = False, False, torch.device("cpu")
        self._build, self._source = build, source
        self._weights: dict[str, Tensor] = {}
        # In a list it is no child: its weights would be listed twice.
        self._networks: list[ImageTrunk] = []

    def opened(self) -> ImageTrunk:
        """Return the trunk itself, with its weights, on the device this was moved to.

        Raises:
            MismatchError: the weights do not fit it, or its features not the heads.

        """
        if not self._networks:
            # What is built in inference mode could never be asked for gradients, as class activation maps do.
            with torch.inference_mode(mode=False):
                self._networks.append(self._opened().to(self.device).eval())
            self._weights = dict(self._networks[0].state_dict())
        return self._networks[0]

    def _opened(self) -> ImageTrunk:
        network = self._build()
        try:
            network.load_state_dict(self._weights)
        except RuntimeError as error:
            detail = str(error).splitlines()[1].strip()[:200]
            raise MismatchError(f"{self._source}: does not fit its settings: {detail}") from None
        if network.width != self.width:
            raise MismatchError(
                f"{self._source}: does not fit its settings: its heads take {self.width} features, and the trunk gives "
                f"{network.width}; has config.yaml been changed? Train again, or put its settings back"
            )
        return network

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        found: Tensor = self.opened()(images)
        return found

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return the parameters of the trunk itself."""
        return self.opened().parameters(recurse)

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:  # type: ignore[override]
        """Return the weights by the names they have in the trunk itself."""
        destination = {} if destination is None else destination
        destination.update({prefix + name: value for name, value in self._weights.items()})
        return destination

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        self._weights = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StoredTrunk":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.device = fn(torch.empty(0)).device
        self._weights = {name: fn(value) for name, value in self._weights.items()}
        for network in self._networks:
            network.to(self.device)
            self._weights = dict(network.state_dict())
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return getattr(self.opened(), name)


Trunk = ImageTrunk | FusedTrunk | ReadyTrunk | StoredTrunk
"""What stands below the heads; its `width` is that of one window."""


def with_own_stains(trunk: Trunk) -> Trunk:
    """Return the same network, whose weights are not copied, with stains of its own: to fit them leaves the other's alone."""
    other = copy.copy(trunk)
    other._modules = {**trunk._modules, "stain": copy.deepcopy(trunk.stain)}
    return other
