"""Features of a slide by LazySlide, in an environment of its own: `slides.py` calls this."""

import json
import sys
import time

import lazyslide as zs  # type: ignore[import-not-found]
import timm
import torch
from safetensors.torch import load_file
from torchvision.transforms import v2
from wsidata import open_wsi  # type: ignore[import-not-found]

MPP, PIXELS, LAYER, BATCH = 0.5, 224, 5, 32
PRECISIONS = {"bf16": torch.bfloat16, "float32": None}


class ToBlock(torch.nn.Module):
    """The trunk to its block, and the mean of its tokens."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.trunk = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=PIXELS)
        state = {name: value.float() for name, value in load_file(weights).items() if name != "pos_embed"}
        self.trunk.load_state_dict(state, strict=False)
        self.trunk.blocks = self.trunk.blocks[: LAYER + 1]  # Blocks count from 0.

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.trunk.forward_features(images)[:, 1:].mean(1).float()


def main() -> None:
    slide, weights, precision, cases = sys.argv[1:]
    kind = PRECISIONS[precision]
    model = ToBlock(weights).eval()
    look = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    out = []
    for number, (windows, part) in enumerate(json.loads(cases)):
        tiles, start = [], time.perf_counter()
        wsi = open_wsi(slide, store=None)
        wsi.set_mpp(MPP)
        zs.pp.find_tissues(wsi)
        for window in windows:
            name, mpp = f"tiles{window:g}", window / PIXELS
            zs.pp.tile_tissues(wsi, PIXELS, stride_px=round(part * windows[0] / mpp), mpp=mpp, key_added=name)
            found = zs.tl.feature_extraction(
                wsi, model, model_name=f"block{number}", tile_key=name, transform=look, device="cpu", amp=kind is not None,
                autocast_dtype=kind, batch_size=BATCH, pbar=False, return_features=True,
            )  # fmt: skip
            tiles.append(len(found))
        # Larger tiles that lie half beside the tissue are left out, or one more is there: each size counts for its own places.
        seconds = time.perf_counter() - start
        out.append({"step": part * windows[0], "tiles": sum(tiles) / len(tiles), "of each": tiles, "seconds": seconds})
    print(json.dumps(out))


if __name__ == "__main__":
    main()
