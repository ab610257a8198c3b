"""Which kind of index fits: from the number of spots, the width of their vectors and the memory there is."""

import math

from bleep.errors import ConfigError
from bleep.settings import KindName

EXACT = 5e7
"""Numbers to multiply for one query up to which exact search is fast enough: about half a millisecond on two cores."""
LINKS = 32
"""Links of a vector in the HNSW graph; twice as many on its lowest level."""


def choose_kind(spots: int, dim: int, memory_gb: float | None) -> tuple[KindName, str]:
    """Return the kind that `auto` stands for, and why, in a sentence.

    HNSW is never chosen: it needs more memory than IVF, is slow to build, and is built anew when spots are removed.

    Raises:
        ConfigError: not even the smallest kind fits into the memory.

    """
    need: dict[KindName, float] = {kind: gigabytes(kind, spots, dim) for kind in ("flat", "ivf", "sq", "ivfpq")}
    room = math.inf if memory_gb is None else memory_gb
    limit = "no limit of memory is set" if memory_gb is None else f"{memory_gb:g} GB are allowed"
    size = f"{spots} spots of width {dim}"
    if spots * dim <= EXACT and need["flat"] <= room:
        return "flat", f"{size} are few enough to search exactly ({need['flat']:.2g} GB; {limit})"
    if need["ivf"] <= room:
        return "ivf", f"{size} are too many to search exactly, and as they are they take {need['ivf']:.2g} GB ({limit})"
    if need["sq"] <= room:
        return "sq", f"{size} take {need['flat']:.2g} GB as they are, and {need['sq']:.2g} GB at 8 bits a number ({limit})"
    if need["ivfpq"] <= room:
        return "ivfpq", f"{size} take {need['sq']:.2g} GB at 8 bits a number, and less as product codes ({limit})"
    raise ConfigError(
        f"index.memory: {size} need {need['ivfpq']:.2g} GB in the smallest kind of index, {limit}; "
        "allow more, or index fewer spots"
    )


def gigabytes(kind: KindName, spots: int, dim: int, bits: int = 0) -> float:
    """Return about how many GB an index of this kind takes; `bits` a number are kept to refine product codes with."""
    each = {
        "flat": 4 * dim,
        "ivf": 4 * dim + 8,
        "sq": dim + 8,
        "ivfpq": subvectors(dim) + 8 + dim * bits / 8,
        "hnsw": 4 * dim + 4 * (2 * LINKS + 1) + 12,
    }
    centres = 0 if kind in ("flat", "hnsw") else 4 * dim * lists(spots)
    return (spots * each[kind] + centres) / 1e9


def lists(spots: int) -> int:
    """Return the number of lists of an IVF index: a power of two near twice the root, none with few vectors."""
    wanted = 2 ** round(math.log2(2 * math.sqrt(max(spots, 1))))
    return max(1, min(wanted, spots // 32))


def subvectors(dim: int) -> int:
    """Return the parts a vector is cut into for product codes of a byte each: four numbers a part where that divides."""
    return next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)
