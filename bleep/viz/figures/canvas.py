"""The Axes that plotting functions are given or make, and what becomes of them: returned, shown, saved."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from bleep.errors import ConfigError
from bleep.files import whole
from bleep.outputs import KEY, MARK, check_output
from bleep.viz.figures.style import DOTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Where = Union["Axes", Sequence["Axes"], None]
"""Axes to draw on: one, or several where several things are drawn; none: new ones."""
FORMS = (".png", ".svg", ".pdf")


def figure_axes(count: int, ax: Where, inches: tuple[float, float], columns: int = 4) -> "list[Axes]":
    """Return the Axes given, or new ones in rows of at most `columns`, each of so many inches.

    Raises:
        ConfigError: matplotlib is not installed, or another number of Axes is given.

    """
    if find_spec("matplotlib") is None:
        raise ConfigError("plotting needs matplotlib, which is not installed: pip install -e '.[plots]' in bleep's clone")
    from matplotlib.axes import Axes

    if ax is not None:
        given = [ax] if isinstance(ax, Axes) else [*ax]
        if len(given) != count:
            raise ConfigError(f"ax: found {len(given)} Axes for {count} things to draw; expected one for each")
        return given
    import matplotlib.pyplot as plt

    across = max(min(count, columns), 1)
    down = -(-count // across)
    figure = plt.figure(figsize=(inches[0] * across, inches[1] * down), layout="constrained")
    return [figure.add_subplot(down, across, number + 1) for number in range(count)]


def finished(axes: "list[Axes]", ax: Where, show: bool | None, save: str | Path | None) -> "Axes | list[Axes]":
    """Write and show the figure as is asked, and return its Axes: one alone, or the list.

    Raises:
        ConfigError: the file's suffix is none of `FORMS`.
        DataError: something is there that bleep did not write, or nothing can be written there.

    """
    if save is not None:
        _save(axes[0], Path(save))
    if _is_shown(ax, show, save):
        import matplotlib.pyplot as plt

        plt.show()
    if save is not None and ax is None and not show:
        import matplotlib.pyplot as plt

        plt.close(axes[0].figure)  # type: ignore[arg-type]
    return axes[0] if len(axes) == 1 else axes


def _is_shown(ax: Where, show: bool | None, save: str | Path | None) -> bool:
    """Say whether to show: as asked, else a new figure that is not saved, where the backend can."""
    if show is not None or ax is not None or save is not None:
        return bool(show)
    import matplotlib
    from matplotlib.backends.registry import BackendFilter, backend_registry

    writers: list[str] = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)  # type: ignore[no-untyped-call]
    return matplotlib.get_backend().lower() not in {name.lower() for name in writers}


def _save(axes: "Axes", path: Path) -> None:
    import matplotlib

    if path.suffix.lower() not in FORMS:
        raise ConfigError(f"save={str(path)!r}: expected a name ending in {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    check_output(path)
    figure = axes.get_figure(root=True)
    assert figure is not None
    form = path.suffix.lower().removeprefix(".")
    # By the mark a later call knows its own file; without a date the same figure gives the same file.
    notes: dict[str, dict[str, str | None]] = {
        "png": {KEY: MARK},
        "svg": {"Keywords": f"{KEY} {MARK}", "Date": None},
        "pdf": {"Keywords": f"{KEY} {MARK}", "CreationDate": None},
    }
    words: Any = {"svg.hashsalt": "bleep", "svg.fonttype": "none", "pdf.fonttype": 42}
    with whole(path) as temporary, matplotlib.rc_context(words):
        figure.savefig(temporary, format=form, dpi=DOTS, metadata=notes[form])
