"""What gene names look like: Ensembl ids or symbols, and of which species."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd

Looks = Literal["human", "mouse", "rat", "rodent", "mixed", "unknown"]
FEWEST = 10
"""Names from which a style can be told."""
MOST = 0.6
"""Share of the names that makes a style."""
SOME = 0.15
"""Share that another style needs to make a mixture."""
PREFIXES: Mapping[str, Looks] = {"": "human", "MUS": "mouse", "RNO": "rat"}
"""What stands between ENS and G in an Ensembl id."""
SPECIES: Mapping[str, tuple[Looks, ...]] = {
    "human": ("human",),
    "homo sapiens": ("human",),
    "mouse": ("mouse", "rodent"),
    "mus musculus": ("mouse", "rodent"),
    "rat": ("rat", "rodent"),
    "rattus norvegicus": ("rat", "rodent"),
}
"""What the names of a species may look like; a species that is not listed may look like anything."""
ANIMALS: Mapping[Looks, str] = {"human": "a human", "mouse": "a mouse", "rat": "a rat", "rodent": "a mouse or rat"}
_ID = re.compile(r"ENS([A-Z]{0,4})G\d{6,}(\.\d+)?$")
_CAPITALISED = re.compile(r"[A-Z][a-z]")


@final
@dataclass(frozen=True, slots=True)
class GeneNames:
    """The style of a section's gene names."""

    ids: bool
    """Whether they are Ensembl ids."""
    looks: Looks
    """The species they look like: by the prefix of ids, else SYMBOLS of human and Symbols of rodents."""
    example: str
    """One of them."""

    def words(self) -> str:
        """Return the style in words."""
        return f"{'Ensembl ids' if self.ids else 'symbols'} such as {self.example}"

    def fit(self, species: str) -> bool:
        """Return whether they may belong to a species."""
        return self.looks in ("mixed", "unknown", *SPECIES.get(species.lower(), (self.looks,)))


def names_of(genes: pd.Index) -> GeneNames:
    """Return the style of some gene names."""
    names = [str(gene) for gene in genes]
    found = [match for match in map(_ID.match, names) if match is not None]
    if len(found) > len(names) / 2:
        return _by_prefix([(match.group(0), PREFIXES.get(match.group(1), "unknown")) for match in found])
    words = [name for name in names if sum(letter.isalpha() for letter in name) > 1]
    styles = {
        "human": [name for name in words if name.upper() == name],
        "rodent": [name for name in words if _CAPITALISED.match(name)],
    }
    first, second = sorted(styles, key=lambda style: -len(styles[style]))
    looks: Looks = "unknown"
    if len(words) >= FEWEST and len(styles[second]) > SOME * len(words):
        looks = "mixed"
    elif len(words) >= FEWEST and len(styles[first]) > MOST * len(words):
        looks = "human" if first == "human" else "rodent"
    usual = styles[first] or names or [""]
    return GeneNames(False, looks, usual[0])


def _by_prefix(found: Sequence[tuple[str, Looks]]) -> GeneNames:
    (first, _), *others = Counter(looks for _, looks in found).most_common()
    mixed = bool(others) and others[0][1] > SOME * len(found)
    return GeneNames(True, "mixed" if mixed else first, next(name for name, looks in found if looks == first))


def overlaps(genes: Sequence[pd.Index]) -> np.ndarray:
    """Return, for each pair of sets of names, what they share as a share of the smaller; Float64[sets sets]."""
    union = genes[0].append(list(genes[1:])).unique()
    member = np.zeros((len(genes), len(union)), dtype=np.float32)
    for row, names in enumerate(genes):
        member[row, union.get_indexer(names)] = 1
    sizes = member.sum(axis=1)
    return np.asarray((member @ member.T) / np.minimum(sizes[:, None], sizes), dtype=np.float64)
