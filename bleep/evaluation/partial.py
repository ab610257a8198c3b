"""Rows of a comparison that are not over all of the test tissue, or not by all seeds."""

from collections.abc import Collection, Sequence

from bleep.records import Scorecard


def partial(cards: Sequence[Scorecard], once: Collection[str]) -> dict[str, str]:
    """Return the predictors that were not scored on all of the test tissue, or by all seeds, and what they were scored on."""
    scored: dict[str, set[tuple[str, str]]] = {}
    for card in cards:
        scored.setdefault(card.predictor, set()).add((card.section, card.part))
    every = set().union(*scored.values())
    seeds = {(card.section, card.part, card.seed) for card in cards if card.predictor not in once}
    found = {}
    for name, here in scored.items():
        words = [_tissue(here, every)] if here != every else []
        mine = {(card.section, card.part, card.seed) for card in cards if card.predictor == name}
        if name not in once and any(one not in mine for one in seeds if one[:2] in here):
            words.append(f"seed {_seeds(mine)} of {_seeds(seeds)}")
        if words:
            found[name] = ", ".join(words)
    return found


def _seeds(cards: set[tuple[str, str, int]]) -> str:
    return ", ".join(map(str, sorted({seed for *_, seed in cards})))


def _tissue(here: set[tuple[str, str]], every: set[tuple[str, str]]) -> str:
    words = []
    for section in sorted({name for name, _ in here}):
        mine, all_of_it = (sum(name == section for name, _ in side) for side in (here, every))
        words.append(section if mine == all_of_it else f"{mine} of {all_of_it} parts of {section}")
    return f"{len(here)} of {len(every)} test sections or parts ({', '.join(words)})"
