#!/usr/bin/env bash
# Which numbers a training draws depends on whether the processes that read its data stay from epoch to epoch.
#
# One would expect: after torch.manual_seed at the start of each epoch, dropout draws the same numbers whether the loader's
# processes are begun anew each epoch or stay (persistent_workers=True); who reads a batch says nothing about chance. And a
# training that is resumed at epoch 2, seeded as epoch 2 was, goes on as the one that was never stopped.
# What happens: a loader that begins its processes draws one number from torch's own generator, and one whose processes stay
# draws none in every later epoch. So the first epoch after a start is shifted against all others: a resumed training, whose
# first epoch is another one's third, has other dropout there than the training it goes on, with the same seed, and only where
# readers stay. A generator handed to the loader mends it.
# Version: torch 2.14.1; seen on 2026-11-30.
# Why it matters: persistent_workers is what everybody turns on for speed, and "resume is bit for bit" is tested without it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile torch==2.14.1 numpy==2.4.6
cd "$folder"
cat > seen.py <<'PY'
import torch
from torch.utils.data import DataLoader, Dataset


class Tiles(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, row):
        return torch.tensor(row)


def dropout(loader, epochs):
    """Return the first number that is drawn in each epoch, once the first batch is there."""
    found = []
    for epoch in epochs:
        torch.manual_seed(1000 + epoch)
        for step, batch in enumerate(loader):
            if step == 0:
                found.append(round(float(torch.rand(())), 6))
    return found


def loader(**how):
    return DataLoader(Tiles(), batch_size=4, num_workers=1, **how)


if __name__ == "__main__":
    print("torch", torch.__version__.partition("+")[0])
    whole = {}
    for name, how in {"begun anew": {}, "stay": {"persistent_workers": True}}.items():
        whole[name] = dropout(loader(**how), range(4))
        resumed = dropout(loader(**how), range(2, 4))
        print(f"readers {name}: epochs 0 to 3 draw {whole[name]}, resumed at 2 {resumed}")
        whole[name, "resumed"] = resumed
    held = {"persistent_workers": True}
    own = dropout(loader(generator=torch.Generator(), **held), range(4))
    own_resumed = dropout(loader(generator=torch.Generator(), **held), range(2, 4))
    print(f"stay, with a generator of the loader's own: {own}, resumed at 2 {own_resumed}")
    assert whole["begun anew"][2:] == whole["begun anew", "resumed"]
    assert whole["stay"][2:] != whole["stay", "resumed"]
    assert whole["stay"][3] == whole["stay", "resumed"][1]
    assert own[2:] == own_resumed
    print("guess: a resumed epoch draws what it drew; seen: with readers that stay, the first epoch after a start draws others")
PY
"$folder/venv/bin/python" -I -W ignore seen.py
