"""Predictors of other packages, fitted and restored, and the one door through which predictions come to be scored or joined."""

import contextlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from bleep import registry
from bleep.data.prediction import SCALE, Prediction, is_numbers
from bleep.data.tiles import Tiles
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.models.fingerprint import said
from bleep.predictors import Predictor, plain
from bleep.runs import Run

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]


@runtime_checkable
class FittedPredictor(Predictor, Protocol):
    """A predictor of another package: fitted on training tiles alone, as ridge is, and kept as arrays in a calibration."""

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "FittedPredictor":
        """Fit on the tiles of training sections, whose measured values `run.panel.training_values` gives."""
        ...

    @classmethod
    def restore(cls, run: Run, arrays: Arrays) -> "FittedPredictor":
        """Make it again from `arrays()`, without training tiles."""
        ...

    def arrays(self) -> Arrays:
        """Return all that it has learnt, to be written without pickle."""
        ...


def fit_other(name: str, run: Run, tiles: Tiles) -> FittedPredictor:
    """Fit a predictor that another package lists among its `bleep.predictors`.

    Raises:
        ConfigError: no package lists it, its `fit` fails, or it lacks one of `name`, `fit`, `restore`, `arrays`, `predict`.

    """
    kind = check_kind(name)
    with clearly(name, "fit", kind):
        found = kind.fit(run, tiles)
    return _checked(found, name, "fit")


@contextlib.contextmanager
def clearly(name: str, what: str, part: object) -> Iterator[None]:
    """Say in one sentence that a part of somebody else fails; its own error stays the cause.

    Raises:
        ConfigError: see above.

    """
    try:
        yield
    except (BleepError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever another's part raises
        module = str(getattr(part, "__module__", ""))
        if module.partition(".")[0] == "bleep":
            raise
        line = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise ConfigError(f"{name}: {what} of {module or 'another package'} failed ({line}); mend it there") from error


def check_kind(name: str) -> Any:
    """Return what a package lists as a predictor, refused before it is fitted if it cannot be.

    Raises:
        ConfigError: no package lists it, or its `fit` or `restore` cannot be called without an instance.

    """
    return _makes(registry.load("predictors", name), name)


def restore_other(name: str, run: Run, arrays: Arrays, origin: registry.Origin) -> FittedPredictor:
    """Make a fitted predictor again from its arrays.

    Raises:
        DataError: the package it is of is not installed.
        MismatchError: another package has a predictor of this name.
        ConfigError: it lacks something, or its `restore` fails.

    """
    if name not in registry.names("predictors"):
        raise DataError(f"the calibration joins the predictor {name} of {origin.describe()}")
    now = registry.origin("predictors", name)
    if now.version and origin.version and now.package != origin.package:
        raise MismatchError(
            f"the calibration joins the predictor {name} of the package {said(origin)}, and here {name} is of {said(now)}: pip "
            f"install {origin.package} in its place, or run `bleep calibrate` again"
        )
    if now != origin:
        log.warning(
            "the calibration joins the predictor %s of %s, and here it is of %s: if it predicts otherwise by now, weights and "
            "intervals are not its own, so run `bleep calibrate` again",
            name,
            said(origin),
            said(now),
        )
    kind = _makes(registry.load("predictors", name, noted=True), name)
    with clearly(name, "restore", kind):
        found = kind.restore(run, arrays)
    return _checked(found, name, "restore")


def _makes(kind: Any, name: str) -> Any:
    for part in ("fit", "restore"):
        if not callable(getattr(kind, part, None)):
            found = f"the class {kind.__name__}" if isinstance(kind, type) else f"a {type(kind).__name__}"
            raise ConfigError(
                f"{name}: is {found} without {part}; expected a class with fit(run, tiles) and restore(run, arrays), both "
                "class methods, and predict(tiles) and arrays()"
            )
        if isinstance(kind, type) and inspect.isfunction(inspect.getattr_static(kind, part)):
            asked = "tiles" if part == "fit" else "arrays"
            raise ConfigError(
                f"{name}: {part} of {kind.__name__} is a method of an instance; make it a @classmethod, "
                f"{part}(cls, run, {asked}), that returns the fitted predictor"
            )
    return kind


def _checked(predictor: Any, name: str, by: str) -> FittedPredictor:
    if predictor is None:
        raise ConfigError(f"{name}: {by} gave nothing; expected it to return the fitted predictor")
    lacks = [part for part in ("predict", "arrays", "fit", "restore") if not callable(getattr(predictor, part, None))]
    lacks += [] if hasattr(predictor, "name") else ["name"]
    if lacks:
        raise ConfigError(f"{name}: is no predictor that bleep can use, since it lacks {', '.join(lacks)}")
    found: FittedPredictor = predictor
    return found


KINDS = tuple(np.dtype(kind) for kind in ("?", *"bhilqBHILQ", *"efd"))
"""Numbers that a calibration can hold."""


def learnt(predictor: FittedPredictor, name: str) -> dict[str, np.ndarray]:
    """Return what a predictor has learnt, as it is written.

    Raises:
        ConfigError: it is no mapping of names to arrays of numbers, or `arrays` fails.

    """
    with clearly(name, "arrays", predictor):
        given: Any = predictor.arrays()
    expected = "expected a mapping of names to NumPy arrays of numbers"
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name}: arrays() gave a {type(given).__name__}; {expected}, such as {{'weights': array}}")
    found = {}
    for key, value in given.items():
        if not isinstance(key, str):
            raise ConfigError(f"{name}: arrays() gave the name {key!r}, a {type(key).__name__}; {expected}")
        try:
            array = np.asarray(value, order="C")
        except Exception as error:  # whatever the other package's own kind of array raises
            raise ConfigError(f"{name}: arrays() gave {key!r} as a {type(value).__name__} ({error}); {expected}") from error
        if array.dtype.newbyteorder("=") not in KINDS:
            raise ConfigError(f"{name}: arrays() gave {key!r} as an array of {array.dtype}; {expected}")
        found[key] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return found


def answered(predictor: Predictor, tiles: Tiles, run: Run, name: str) -> Prediction:
    """Return what a predictor, perhaps another's, says of tiles: whatever is scored or joined comes through here.

    Raises:
        MismatchError: it gives something else than a prediction, or one of other tiles, other genes, another scale or another
            order of them; or it writes into what another predicted.
        DataError: it predicts what is not a number, or intervals whose ends cross or are none.
        ConfigError: it is none of bleep's own, and fails.

    """
    if not callable(getattr(predictor, "predict", None)):
        raise MismatchError(
            f"{name}: is no predictor, as its type {type(predictor).__name__} has no predict; expected "
            "predict(tiles) -> bleep.Prediction"
        )
    with clearly(name, "predict", plain(predictor)):
        try:
            found: Any = predictor.predict(tiles)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise MismatchError(
                f"{name}: wrote into values that can only be read ({error}), as others are scored by them; let it change a "
                "copy, such as prediction.expression.copy()"
            ) from error
    if not isinstance(found, Prediction):
        raise MismatchError(f"{name}: predict gave a {type(found).__name__}; expected a bleep.Prediction of {len(tiles)} tiles")
    if len(found) != len(tiles):
        raise MismatchError(f"{name}: predicted {len(found)} tiles; expected {len(tiles)}")
    scale = SCALE if run.model.classifies else run.panel.describe()
    told = found.adata.uns.get("bleep", {}).get("scale", "nothing")
    _check_order(name, "tiles", found.adata.obs_names, tiles.ids, "pass the tiles it was given on to bleep.Prediction")
    _check_order(name, "genes", found.adata.var_names, run.panel.genes, "predict run.panel.genes")
    if told != scale:
        raise MismatchError(f"{name}: predicted values on the scale {told!r}; expected {scale!r}, as run.panel.describe() says")
    if not is_numbers(found.expression):
        raise MismatchError(f"{name}: predicted {_described(found.expression)}; expected a NumPy array of numbers")
    if not np.isfinite(found.expression).all():
        raise DataError(f"{name}: predicted values that are not numbers")
    _check_intervals(name, found)
    return found


def _check_intervals(name: str, found: Prediction) -> None:
    """Refuse spreads and ends of intervals that say nothing; an end may be infinite.

    Raises:
        DataError: one is not a number, a spread is below 0, one end comes without the other, or the lower lies above the upper.

    """
    for what, values in (("spread", found.spread), ("lower", found.lower), ("upper", found.upper)):
        if values is not None and np.isnan(values).any():
            tiles = int(np.isnan(values).any(axis=1).sum())
            raise DataError(
                f"{name}: gave {what} values that are not numbers for {tiles} of {len(found)} tiles; give numbers, or leave "
                f"{what} out"
            )
    if found.spread is not None and (found.spread < 0).any():
        raise DataError(f"{name}: gave a spread below 0 ({float(found.spread.min()):g}); expected a standard deviation")
    if (found.lower is None) != (found.upper is None):
        there, other = ("lower", "upper") if found.upper is None else ("upper", "lower")
        raise DataError(f"{name}: gave {there} ends of intervals and no {other} ones; give both, or neither")
    if found.lower is not None and found.upper is not None and (crossed := found.lower > found.upper).any():
        tile, gene = (int(at[0]) for at in np.nonzero(crossed))
        raise DataError(
            f"{name}: gave an interval whose lower end lies above its upper end, {float(found.lower[tile, gene]):g} above "
            f"{float(found.upper[tile, gene]):g} for gene {found.genes[gene]} of tile {found.adata.obs_names[tile]}; give the "
            "lower end as lower"
        )


def values_of(predictor: Predictor, tiles: Tiles, run: Run, name: str) -> Float32[np.ndarray, "tiles genes"]:
    """Return the values of what `answered` gives."""
    return answered(predictor, tiles, run, name).expression.astype(np.float32)


def _check_order(name: str, what: str, found: Any, expected: tuple[str, ...], way_out: str) -> None:
    given = tuple(map(str, found))
    if given == expected:
        return
    if len(given) != len(expected):
        raise MismatchError(f"{name}: predicted {len(given)} {what}; expected {len(expected)}: {way_out}")
    at = next(row for row, (one, other) in enumerate(zip(given, expected, strict=True)) if one != other)
    order = f"the {what} in another order" if sorted(given) == sorted(expected) else f"other {what}"
    raise MismatchError(
        f"{name}: predicted {order}, number {at + 1} being {given[at]} where {expected[at]} was expected: {way_out}, "
        "in that order"
    )


def _described(values: object) -> str:
    return f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
