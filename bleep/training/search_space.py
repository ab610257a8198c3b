"""The search space of a tuning: which settings are tried, and between what bounds, checked before anything runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bleep.config import Config, describe_fields, find_recipe
from bleep.config.base import merged, read_yaml
from bleep.errors import ConfigError

FORBIDDEN = {
    "data": "decides what is learnt from and scored on",
    "panel.choice": "decides which genes are scored",
    "panel.size": "decides which genes are scored",
    "panel.candidates": "decides which genes are scored",
    "panel.min_spots": "decides which genes are scored",
    "panel.include": "decides which genes are scored",
    "panel.list": "decides which genes are scored",
    "panel.normalise": "decides on what scale is scored",
    "panel.target": "decides on what scale is scored",
    "panel.denominator": "decides on what scale is scored",
    "panel.pool": "decides on what scale is scored",
    "seed": "would be chosen by luck",
    "out": "is the folder of the run",
    "cache": "is the folder of the features",
}
"""Settings that scores of different trials must share, and why."""
NUMBERS = ("number", "whole number")


@final
@dataclass(frozen=True, slots=True)
class Between:
    """A number between two bounds, both possible."""

    low: int | float
    high: int | float
    log: bool
    """Small values are tried as often as large ones, by their logarithm."""
    whole: bool

    def plain(self) -> dict[str, Any]:
        """Return the rule as it is written in YAML."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of those tried."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def first(self) -> Any:
        """Return one possible value."""
        return self.low


@final
@dataclass(frozen=True, slots=True)
class Among:
    """One of some values."""

    choices: tuple[Any, ...]

    def labels(self) -> list[str]:
        """Return each value as text."""
        return [json.dumps(choice) for choice in self.choices]

    def plain(self) -> dict[str, Any]:
        """Return the rule as it is written in YAML."""
        return {"choices": list(self.choices)}

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of those tried."""
        return value in self.choices

    def first(self) -> Any:
        """Return one possible value."""
        return self.choices[0]


Space = dict[str, Between | Among]
"""A rule for each setting tried, by its dotted name."""


def read_space(path: Path, config: Config) -> Space:
    """Read a search space, by path or by a name such as `search/heads`, and check all of it against a configuration.

    Raises:
        ConfigError: the file is no such space, or names a setting or a value that the configuration refuses.

    """
    tree = read_yaml(find_recipe(path))
    if not tree:
        raise ConfigError(f"{path}: names no setting to tune; write lines such as `optim.lr: {{low: 1e-4, high: 1e-2}}`")
    kinds = {name: kind for name, kind, _, _ in describe_fields()}
    return {str(key): _rule(f"{path}: {key}", str(key), rule, config, kinds) for key, rule in tree.items()}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted settings as a tree, to be laid over a recipe."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return tree


def _rule(where: str, key: str, rule: object, config: Config, kinds: Mapping[str, str]) -> Between | Among:
    for name, why in FORBIDDEN.items():
        if key == name or key.startswith(f"{name}."):
            raise ConfigError(f"{where} {why}, so it is not tuned; set it in the recipe")
    if key in Config.model_fields and key not in kinds:
        raise ConfigError(f"{where} is a group of settings; expected dotted names such as optim.lr")
    if key not in kinds:
        _value(where, key, 0, config)
        raise ConfigError(f"{where}: unknown setting; `bleep config docs` lists every setting")
    if not isinstance(rule, dict) or set(map(str, rule)) not in ({"choices"}, {"low", "high"}, {"low", "high", "log"}):
        shown = ", ".join(map(str, rule)) if isinstance(rule, dict) else repr(rule)[:80]
        raise ConfigError(f"{where}: found {shown or 'nothing'}; expected {{low: .., high: ..}}, with log: true or without, "
                          "or {choices: [..]}")  # fmt: skip
    if "choices" in rule:
        return _among(where, key, rule["choices"], config)
    if kinds[key] not in NUMBERS:
        raise ConfigError(f"{where} takes {kinds[key]}, which has no low and high; expected {{choices: [..]}}")
    return _between(where, key, rule, config, whole=kinds[key] == "whole number")


def _among(where: str, key: str, found: object, config: Config) -> Among:
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{where}: choices is {found!r}; expected a list of values such as [128, 256]")
    among = Among(tuple(_value(where, key, value, config) for value in found))
    labels = among.labels()
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"{where}: {label} stands more than once among the choices; name it once")
    return among


def _between(where: str, key: str, rule: Mapping[str, Any], config: Config, *, whole: bool) -> Between:
    bounds = []
    for side in ("low", "high"):
        found = None if isinstance(rule[side], bool) else _value(where, key, rule[side], config)
        if found is None:
            raise ConfigError(f"{where}: {side} is {rule[side]!r}; expected a number")
        bounds.append(found)
    low, high = bounds
    log = rule.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log is {log!r}; expected true or false")
    if low >= high:
        raise ConfigError(f"{where}: low is {low}, which is not below high, {high}; turn them round, or set it in the recipe")
    if log and low <= 0:
        raise ConfigError(f"{where}: low is {low}, which has no logarithm; leave out log, or choose a low above 0")
    return Between(low, high, log, whole)


def _value(where: str, key: str, value: object, config: Config) -> Any:
    """Return a value as the configuration holds it, so that `1e-3` written as text is a number."""
    try:
        tree: Any = Config.load(merged(config.dump(), nested({key: value}))).dump()
    except ConfigError as error:
        raise ConfigError(f"{where.removesuffix(key)}{error}") from None
    for step in key.split("."):
        tree = tree[step]
    return tree
