#!/usr/bin/env bash
# What a pattern finds in a column of names depends on what the column is stored as, and on the pandas of the month.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 2.3.3 3.0.6 3.1.1; do
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile pandas==$version pyarrow==26.0.1 numpy==2.4.6
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import re
import pandas as pd
print("pandas", pd.__version__)
names = ["HLA-DRA", "Cα", "B٢", "a\u2028b", "x\u00a0y", "TUBA1A\n", "ſ", "K"]
own = pd.Series(names, dtype=object); s = pd.Series(names, dtype="str" if pd.__version__ >= "3" else "string[pyarrow]")
for pattern, flags in ((r"\w$",0),(r"^\w+$",0),(r"\d",0),(r"\s",0),(r"[\u2028]",0),("k",re.I),("s",re.I),(r"A$",0),(r"\bC\w\b",0),(r"^.{2}$",0),(r"^.{3}$",0)):
    out=[]
    for col in (own, s):
        try: out.append(col.str.contains(pattern, flags=flags).tolist())
        except Exception as e: out.append(type(e).__name__)
    print(repr(pattern), flags, "same" if out[0]==out[1] else out)
for f,a in (("fullmatch",(r"\w+",)),("match",(r"\w+\b",)),("replace",(r"\s","_"))):
    out=[]
    for col in (own,s):
        try: out.append(getattr(col.str,f)(*a, **({"regex":True} if f=="replace" else {})).tolist())
        except Exception as e: out.append(type(e).__name__)
    print(f,a,"same" if out[0]==out[1] else out)
for f in ("upper","lower","title","isdigit","isnumeric","isalpha","strip","len"):
    out=[getattr(c.str,f)().tolist() for c in (own,s)]
    print(f,"same" if out[0]==out[1] else out)
PY
done
