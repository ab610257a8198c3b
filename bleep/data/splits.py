"""Held-out tissue: by patient, by section or by spatial block; single spots only when asked for, and marked as leaking."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.spatial import cKDTree

from bleep.config import DataConfig, SplitName
from bleep.data.section import Section
from bleep.errors import ConfigError, DataError
from bleep.records import Leak

log = logging.getLogger(__name__)

Rows = Int[np.ndarray, " spots"]


@final
@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation and test tissue.

    Raises:
        DataError: nothing is left on the training side, or on the test side of a split, or the same tissue stands on two sides.

    """

    train: tuple[Section, ...]
    val: tuple[Section, ...]
    test: tuple[Section, ...]
    by: SplitName
    """What was held out together."""
    leak: Leak
    """What training shares with the test tissue."""

    def __repr__(self) -> str:
        sides = {"train": self.train, "val": self.val, "test": self.test}
        shown = [
            f"{side} {', '.join(f'{s.name} ({len(s)})' for s in sections)}" for side, sections in sides.items() if sections
        ]
        return f"Split(by {self.by}: {'; '.join(shown)}; leak: {self.leak.status})"

    def __post_init__(self) -> None:
        for side, sections in (("train", self.train), ("test", self.test)):
            if not sections and (side == "train" or self.by != "none"):
                raise DataError(
                    f"the split by {self.by} leaves nothing to {side} on; "
                    "read more sections, lower data.margin or data.blocks, or split otherwise"
                )
        seen = {section.digest(): section.name for section in self.train}
        for section in self.val:
            if (same := seen.get(section.digest())) is not None:
                raise DataError(
                    f"validation section {section.name} holds the same tissue as section {same}, "
                    "which is trained on; remove one"
                )
        seen |= {section.digest(): section.name for section in self.val}
        for section in self.test:
            same = seen.get(section.digest())
            if same is not None:
                raise DataError(
                    f"test section {section.name} holds the same tissue as section {same}, "
                    "which was trained on or validated with; remove one"
                )


def split(sections: Sequence[Section], data: DataConfig, seed: int = 0) -> Split:
    """Divide the sections as `data.split`, `test`, `folds`, `fold` and `val` say.

    Raises:
        ConfigError: `data.test` or `data.patients` names what is not there, or there are fewer groups than folds.
        DataError: nothing is left on a side.

    """
    _check_patients(sections, data)
    divided = SPLITS[data.split](tuple(sections), data, seed)
    if data.val != "none" and not divided.val:
        raise DataError(
            f"the split by {data.split} leaves nothing to validate on (data.val {data.val}); lower data.margin or data.blocks, "
            "or set data.val to none"
        )
    return divided


def _check_patients(sections: Sequence[Section], data: DataConfig) -> None:
    """Refuse patients of sections that are not there: one wrong letter would put a patient on both sides, unnoticed."""
    names = [section.name for section in sections]
    unknown = sorted(set(data.patients) - set(names))
    if unknown and not data.sections:
        raise ConfigError(f"data.patients names section {unknown[0]!r}, which is not there; found {', '.join(sorted(names))}")
    unsaid = sorted(set(names) - set(data.patients))
    if unknown and unsaid:
        # Of sections that are left unread, a name may be right.
        raise ConfigError(
            f"data.patients names section {unknown[0]!r}, which is not read, and not section {unsaid[0]!r}, which is; name the "
            "patient of each section that data.sections lists"
        )


def _by_group(sections: tuple[Section, ...], data: DataConfig, seed: int) -> Split:
    group = {section.name: section.patient if data.split == "patient" else section.name for section in sections}
    groups = sorted(set(group.values()))
    if data.test:
        unknown = [name for name in data.test if name not in groups]
        if unknown:
            raise ConfigError(f"data.test names {data.split} {unknown[0]!r}; found {', '.join(groups)}")
        held = set(data.test)
    else:
        if len(groups) == 1:
            cut = not sections[0].has_positions
            raise ConfigError(
                f"there is only one {data.split} ({groups[0]}), so none can be held out by {data.split}: set data.split to "
                + ("none, to train on all of it" if cut else "block, which holds out parts of it, or to none, to train on all")
            )
        if len(groups) < data.folds:
            cut = any(not section.has_positions for section in sections)
            other = " or name data.test" if cut else ", name data.test, or split by block"
            raise ConfigError(
                f"data.folds is {data.folds}, but there are only {len(groups)} to split by {data.split} "
                f"({', '.join(groups)}); lower data.folds{other}"
            )
        held = {name for place, name in enumerate(groups) if place % data.folds == data.fold}
    rest = [name for name in groups if name not in held]
    val = {rest[data.fold % len(rest)]} if data.val == "group" and len(rest) > 1 else set()
    train = tuple(s for s in sections if group[s.name] not in held | val)
    if data.val == "group" and len(rest) == 1:
        raise ConfigError(f"data.val is group, but only one {data.split} is left to train on; {_without_groups(train)}")
    chosen = tuple(s for s in sections if group[s.name] in val)
    if data.val == "block":
        train, chosen = _validation_blocks(train, data)
    elif data.val == "random":
        train, chosen = _validation_spots(train, data, seed)
    test = tuple(s for s in sections if group[s.name] in held)
    return Split(train, chosen, test, data.split, leak_between((*train, *chosen), test))


def _by_block(sections: tuple[Section, ...], data: DataConfig, seed: int) -> Split:
    if data.val == "random":
        raise ConfigError(
            "data.val is random, but data.split is block, which keeps a margin around what is held out: use block"
        )
    _check_folds(data)
    _check_dealt(data)
    train, val, test = [], [], []
    for section in sections:
        part = blocks_of(section, data.blocks, data.folds)
        held = part == data.fold
        chosen = part == (data.fold + 1) % data.folds if data.val != "none" else np.zeros(len(part), bool)
        free = ~held & ~near_spots(section, held, data.margin)
        test.append(_take(section, held))
        val.append(_take(section, chosen & free))
        train.append(_take(section, free & ~chosen & ~near_spots(section, chosen, data.margin)))
    leak = Leak("neighbouring tissue", "test spots lie in blocks of the sections that were trained on")
    return Split(_filled(train), _filled(val), _filled(test), "block", leak)


def _check_folds(data: DataConfig) -> None:
    """Refuse two folds where one is to be tested on and the other validated on."""
    if data.folds < 3 and data.val not in ("none", "random"):
        raise ConfigError(
            f"data.folds is {data.folds} and data.val {data.val}: one fold is tested on and one chooses the epoch, so none is "
            "left to train on; set data.folds to 3 or more, or data.val to none"
        )


def _by_spot(sections: tuple[Section, ...], data: DataConfig, seed: int) -> Split:
    _check_folds(data)
    train, val, test = [], [], []
    for section in sections:
        drawn = np.random.default_rng([seed, len(section)]).permutation(len(section))
        part = drawn % data.folds
        held = part == data.fold
        chosen = part == (data.fold + 1) % data.folds if data.val != "none" else np.zeros(len(part), bool)
        if data.val == "random":
            chosen = _first(drawn, ~held, data.val_share)
        test.append(_take(section, held))
        val.append(_take(section, chosen))
        train.append(_take(section, ~held & ~chosen))
    leak = Leak("random spots", "test spots lie between training spots: the score is too high by an unknown amount")
    return Split(_filled(train), _filled(val), _filled(test), "random", leak)


def _nothing(sections: tuple[Section, ...], data: DataConfig, seed: int) -> Split:
    train: tuple[Section, ...] = sections
    val: tuple[Section, ...] = ()
    if data.val == "group":
        if len(sections) == 1:
            raise ConfigError(f"data.val is group, but there is only one section to train on; {_without_groups(sections)}")
        train, val = sections[:-1], sections[-1:]
    elif data.val == "block":
        train, val = _validation_blocks(sections, data)
    elif data.val == "random":
        train, val = _validation_spots(sections, data, seed)
    return Split(train, val, (), "none", Leak("nothing held out", "all tissue was trained on, so nothing can be scored"))


HOLD_OUT = "set data.val to group, or where only one is left to train on to block, or to random if its tiles are ready-cut"
"""The way out where something must be held out for validation."""


def _without_groups(sections: tuple[Section, ...]) -> str:
    """Return what `data.val` can be where there is no second group."""
    other = "block" if all(section.has_positions for section in sections) else "random"
    return (
        f"set data.val to {other}, or to none where nothing follows a validation score: `bleep tune` and optim.schedule "
        "plateau do"
    )


SPLITS: Mapping[SplitName, Callable[[tuple[Section, ...], DataConfig, int], Split]] = {
    "patient": _by_group,
    "section": _by_group,
    "block": _by_block,
    "random": _by_spot,
    "none": _nothing,
}


@runtime_checkable
class Named(Protocol):
    """A section, or what is remembered of one."""

    @property
    def name(self) -> str:
        """Its own."""
        ...

    @property
    def patient(self) -> str:
        """Whom it is from."""
        ...


def leak_between(train: Sequence[Named], test: Sequence[Named]) -> Leak:
    """Return whom training shares with the test tissue, by what was said of whom sections are from."""
    shared = sorted({section.patient for section in train} & {section.patient for section in test})
    if shared:
        return Leak("same patient", f"other sections of patient {', '.join(shared)} were trained on")
    unnamed = sorted(section.name for section in (*train, *test) if section.patient == section.name)
    if unnamed:
        return Leak("unknown", f"nobody said which patient section {', '.join(unnamed)} is from: give data.patients")
    return Leak("none", "no patient of the test tissue was trained on")


def _validation_blocks(train: tuple[Section, ...], data: DataConfig) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    kept, chosen = [], []
    for section in train:
        if not section.has_positions:
            raise ConfigError(
                f"data.val is block, but section {section.name} has ready-cut tiles without known places; set data.val to "
                "random, or with several groups of the split to group"
            )
        held = blocks_of(section, data.blocks, 2 * data.blocks) == 0
        chosen.append(_take(section, held))
        kept.append(_take(section, ~held & ~near_spots(section, held, data.margin)))
    return _filled(kept), _filled(chosen)


def _validation_spots(
    train: tuple[Section, ...], data: DataConfig, seed: int
) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    log.warning(
        "data.val is random: validation spots lie between training spots, so the validation score is too high by an unknown "
        "amount, and may choose too late an epoch"
    )
    kept, chosen = [], []
    for section in train:
        drawn = np.random.default_rng([seed, len(section)]).permutation(len(section))
        held = _first(drawn, np.ones(len(section), bool), data.val_share)
        chosen.append(_take(section, held))
        kept.append(_take(section, ~held))
    return _filled(kept), _filled(chosen)


def _first(drawn: Rows, free: Bool[np.ndarray, " spots"], share: float) -> Bool[np.ndarray, " spots"]:
    """Return this share of all spots, the first drawn of those that are free, but at least one and never all."""
    order = np.argsort(drawn)
    order = order[free[order]]
    first = np.zeros(len(free), bool)
    first[order[: max(1, min(round(share * len(free)), len(order) - 1))]] = True
    return first


def blocks_of(section: Section, blocks: int, parts: int) -> Rows:
    """Return the part each spot belongs to: blocks of a square grid are dealt out along diagonals, so that parts spread.

    A row begins one part later than where the last one ended; with one part more than a row has blocks, that would be the same
    part in every row, and the last part would get none, so there it is two later.
    """
    section.pitch()
    low, high = section.xy.min(axis=0), section.xy.max(axis=0)
    place = ((section.xy - low) / np.maximum(high - low, 1e-9) * blocks).astype(np.int64).clip(0, blocks - 1)
    parted: Rows = dealt(blocks, parts)[place[:, 1], place[:, 0]]
    return parted


def dealt(blocks: int, parts: int) -> Int[np.ndarray, "rows columns"]:
    """Return the part of each block, see `blocks_of`; of some numbers of blocks and parts, parts are left without any."""
    row, column = np.indices((blocks, blocks))
    parted: Int[np.ndarray, "rows columns"] = (row * (blocks + (2 if parts == blocks + 1 else 1)) + column) % parts
    return parted


def _deals_to_all(blocks: int, parts: int) -> bool:
    return len(np.unique(dealt(blocks, parts))) == parts


def _check_dealt(data: DataConfig) -> None:
    """Refuse numbers of blocks and folds that leave the fold asked for, or that of validation, without a block."""
    wanted = {data.fold, (data.fold + 1) % data.folds} if data.val != "none" else {data.fold}
    without = wanted - set(dealt(data.blocks, data.folds).ravel().tolist())
    if not without:
        return
    fewer = next(folds for folds in range(data.folds - 1, 0, -1) if _deals_to_all(data.blocks, folds))
    more = next(blocks for blocks in range(data.blocks + 1, data.folds + 2) if _deals_to_all(blocks, data.folds))
    raise ConfigError(
        f"data.folds is {data.folds} and data.blocks {data.blocks}: dealt out along diagonals, no block of a section is left "
        f"for fold {min(without)}; set "
        + (f"data.folds to {fewer}, or " if fewer >= (2 if data.val == "none" else 3) else "")
        + f"data.blocks to {more}"
    )


def near_spots(section: Section, held: Bool[np.ndarray, " spots"], margin: float) -> Bool[np.ndarray, " spots"]:
    """Return the spots less than `margin` and a quarter pitches from a held-out one: a quarter, as grids are uneven."""
    if margin == 0 or not held.any():
        return np.zeros(len(held), bool)
    distance: Float64[np.ndarray, " spots"] = cKDTree(section.xy[held]).query(section.xy)[0]
    near: Bool[np.ndarray, " spots"] = distance < (margin + 0.25) * section.pitch()
    return near


def _take(section: Section, mask: Bool[np.ndarray, " spots"]) -> Section | None:
    return section.subset(np.flatnonzero(mask)) if mask.any() else None


def _filled(sections: Sequence[Section | None]) -> tuple[Section, ...]:
    return tuple(section for section in sections if section is not None)
