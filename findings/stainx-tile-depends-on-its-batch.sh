#!/usr/bin/env bash
# What colour stainx gives a tile depends on which other tiles are in the same batch, with a fixed reference too.
#
# One would expect: "reference" mode is fitted once, which is why the documentation prefers it for reproducible training. A tile
# then has one normalised picture, alone or among others, whatever the order; batches are for speed.
# What happens: Reinhard takes mean and spread of what is to be normalised, and HistogramMatching its histogram, over the whole
# batch, not tile by tile. So a tile is moved by what lies beside it: with three tiles of glass the same dark tile comes out 30
# levels darker, and tiles of two sections that differ by their stain keep a third to two thirds of that difference in one
# batch and none of it in batches of their own. Macenko of the same package works tile by tile. Alone, Reinhard agrees with torchstain.
# Versions: stainx 0.1.6 (August 2026, Reinhard, HistogramMatching and StainNormalizerTransform), torch 2.14.1, torchstain
# 1.4.1; seen on 2026-11-29. Its "batch" mode, which does say so, is another matter: what is fitted there is the reference.
# Why it matters: a loader shuffles, the last batch is smaller, and inference runs with another batch size. Features of a
# frozen trunk then depend on it, cached ones cannot be made again, and the stain of two sections is removed or not by who
# was drawn together.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  torch==2.14.1 torchstain==1.4.1 numpy==2.4.6 setuptools==80.9.0 wheel==0.45.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation stainx==0.1.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import stainx
import torch
import torchstain

print(*(f"{name} {version(name)}" for name in ("stainx", "torch", "torchstain")))
random = torch.Generator().manual_seed(0)


def tile(dye):
    """Hematoxylin in round nuclei over eosin, 8 bits; dye is how much of both there is."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    nuclei = (((x % 16 - 8) ** 2 + (y % 16 - 8) ** 2) < 20).float()
    amounts = torch.stack([0.1 + 0.7 * nuclei, 0.5 - 0.2 * nuclei]) * dye * (0.8 + 0.4 * torch.rand(2, 64, 64, generator=random))
    vectors = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    return (240 * torch.exp(-torch.einsum("sc,shw->chw", vectors, amounts))).byte()


reference, dark, pale = tile(1.0), tile(1.6), tile(0.6)
glass = (238 + torch.randint(0, 5, (3, 64, 64), generator=random)).byte()
batches = {"alone": [dark], "with three of glass": [dark, glass, glass, glass], "with a pale one": [dark, pale]}
seen, apart = {}, {}
for method in ("reinhard", "histogram_matching", "macenko"):
    transform = stainx.StainNormalizerTransform(
        method, mode="reference", reference=reference[None], device="cpu", **({"normalize_to_0_1": False} if method == "macenko" else {})
    )

    def normal(tiles):
        return transform(torch.stack(tiles)).float()

    first = {name: normal(tiles)[0] for name, tiles in batches.items()}
    seen[method] = {name: float((made - first["alone"]).abs().mean()) for name, made in first.items() if name != "alone"}
    both = normal([dark, pale])
    apart[method] = [float((a - b).mean().abs()) for a, b in ((normal([dark])[0], normal([pale])[0]), both)]
    off = ", ".join(f"{name} {levels:.1f}" for name, levels in seen[method].items())
    print(f"{method}, the same dark tile against itself alone, levels: guess 0, seen {off}")
    if method != "macenko":
        before = float((dark.float() - pale.float()).mean().abs())
        print(
            f"  levels between a dark and a pale tile, {before:.0f} before: in batches of their own {apart[method][0]:.1f}, in one: guess "
            f"the same, seen {apart[method][1]:.1f}"
        )
other = torchstain.normalizers.ReinhardNormalizer(backend="torch")
other.fit(reference.float())
theirs = torch.as_tensor(other.normalize(I=dark.float())).float()
theirs = theirs.permute(2, 0, 1) if theirs.shape[-1] == 3 else theirs
reinhard = stainx.Reinhard(device="cpu").fit(reference[None])
alone = float((reinhard.transform(dark[None])[0].float() - theirs).abs().mean())
among = float((reinhard.transform(torch.stack(batches["with three of glass"]))[0].float() - theirs).abs().mean())
print(f"against torchstain's Reinhard of the tile: alone {alone:.1f} off, with three of glass {among:.1f}")
for method in ("reinhard", "histogram_matching"):
    assert seen[method]["with three of glass"] > 15 and seen[method]["with a pale one"] > 5, seen
    assert apart[method][0] < 5 and apart[method][1] > 10, apart
assert max(seen["macenko"].values()) == 0, seen
assert alone < 2 and among > 15, (alone, among)
print("as found")
PY
