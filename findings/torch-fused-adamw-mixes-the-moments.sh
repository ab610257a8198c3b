#!/usr/bin/env bash
# AdamW's fused step on a CPU pairs weights with the moments of other weights where the two lie differently in memory.
#
# One would expect: a training that is stopped and goes on from its weights and the optimizer's state ends with the weights of
# one that was not stopped, with fused=True as without. Convolutions are laid out channels last, which is faster; files of
# safetensors hold contiguous tensors alone, so the moments come back from them in the usual order, with the same values and
# the same shape.
# What happens: load_state_dict takes them as they are. The usual step goes by the shapes and ends with the same bits. The fused
# one goes through both in the order of memory, without a word: each weight moves by another one's moments. After five steps the
# weights are off by half of what they have moved.
# Version: torch 2.14.1 with safetensors 0.8.0; seen on 2026-11-29.
# Why it matters: image encoders are laid out so, and a resumed training goes on, a little worse than before, and nobody is told.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile torch==2.14.1 safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import torch
from safetensors import __version__
from safetensors.torch import load_file, save_file
from torch import nn

print("torch", torch.__version__.partition("+")[0], "safetensors", __version__)
generator = torch.Generator().manual_seed(0)
pictures = torch.randn(10, 8, 3, 9, 9, generator=generator)


def network():
    made = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(-1, 1, made.weight.numel()).reshape(made.weight.shape))
    return made


def trained(made, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        ((made(pictures[step]) - 1) ** 2).mean().backward()
        optimizer.step()
    return made.weight.detach().clone()


off = {}
for fused in (False, True):
    whole = network()
    optimizer = torch.optim.AdamW(whole.parameters(), 0.01, fused=fused)
    half = trained(whole, optimizer, range(5))
    state = optimizer.state_dict()
    (moments,) = state["state"].values()
    save_file({"weight": half.contiguous(), **{name: part.contiguous() for name, part in moments.items()}}, "state.safetensors")
    end = trained(whole, optimizer, range(5, 10))

    found, resumed = load_file("state.safetensors"), network()
    with torch.no_grad():
        resumed.weight.copy_(found.pop("weight"))
    again = torch.optim.AdamW(resumed.parameters(), 0.01, fused=fused)
    again.load_state_dict({"state": {0: found}, "param_groups": state["param_groups"]})
    off[fused] = float((trained(resumed, again, range(5, 10)) - end).abs().max())
    moved = float((end - half).abs().max())
    print(f"fused={fused}: guess 0 off, seen {off[fused]:.3f} off, where weights moved by {moved:.3f} at most")
assert off[False] == 0, off
assert off[True] > 0.02, off
print("as found")
PY
