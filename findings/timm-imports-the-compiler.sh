#!/usr/bin/env bash
# Importing timm imports torch's compiler, by way of torchvision's region pooling, though nothing is compiled or pooled.
#
# One would expect: `import timm` costs timm and torch, and torchvision's operators wait until one is called.
# What happens: timm's layers import torchvision's operators for one frozen norm, these import RoI pooling, and that imports
# torch._dynamo to be able to ask whether compiling is supported. Ninety-five modules of torch._dynamo are loaded that
# `import torch` leaves alone; `import torchvision.ops` loads the same.
# Versions: timm 1.0.31, torchvision 0.29.1, torch 2.14.1; seen on 2026-11-28.
# Why it matters: a command that only reads cached features paid for it at each start: 2.4 s of 7.5 s of imports, of which
# torch._dynamo was 1.4 s. A process that does not build a network should not import timm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile timm==1.0.31 torchvision==0.29.1 torch==2.14.1 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import sys

__import__(sys.argv[1])
found = [name for name in sys.modules if name.split(".")[:2] == ["torch", "_dynamo"]]
print(len(found), "torchvision.ops.roi_align" in sys.modules)
PY
echo "timm 1.0.31, torchvision 0.29.1, torch 2.14.1"
bare=$("$folder/venv/bin/python" -I look.py torch)
whole=$("$folder/venv/bin/python" -I look.py timm)
operators=$("$folder/venv/bin/python" -I look.py torchvision.ops)
echo "modules of torch._dynamo loaded, and whether RoI pooling is:"
echo "import torch: $bare"
echo "import timm: guess 0 False, seen $whole"
echo "import torchvision.ops: $operators"
read -r count pooling <<< "$whole"
[[ $bare == "0 False" && $operators == "$whole" && $count -gt 50 && $pooling == True ]]
echo "as found"
