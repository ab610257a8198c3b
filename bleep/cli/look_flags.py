"""Flags of `evaluate` and `query` that ask for pages, figures and explanations, and what becomes of them."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli import MANY
from bleep.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from bleep.data.prediction import Prediction
    from bleep.data.tiles import Tiles
    from bleep.predictors import Predictor
    from bleep.records import Table
    from bleep.retrieval.reference import Reference
    from bleep.runs import Run
    from bleep.workflows.labels import LabelTable
    from bleep.workflows.opened import Opened


MOST = 200_000
"""Tiles that a page can show."""


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add `--report`."""
    parser.add_argument("--report", type=Path, default=None, metavar="PAGE.html", help="also write a page to look at, offline")


def add_deep_zoom(parser: argparse.ArgumentParser) -> None:
    """Add `--no-deep-zoom`, of slides."""
    parser.add_argument(
        "--no-deep-zoom", action="store_true",
        help="page: leave out the folder PAGE_tiles, by which a large slide can be looked into to the pixel",
    )  # fmt: skip


def _has_tiles(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "slides", None)) and not arguments.no_deep_zoom


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Add `--figures` and the genes drawn."""
    parser.add_argument("--figures", type=Path, default=None, metavar="FOLDER", help="also draw figures, as PNG and SVG")
    parser.add_argument("--paper", action="store_true", help="figures: as PDF too, 300 dots an inch, and without titles")
    parser.add_argument("--umap", action="store_true", help="figures: the shared space by UMAP too, a quarter of a minute more")
    parser.add_argument("--heat-maps", type=int, default=0, metavar="N", help="figures: what parts of N tiles a gene leans on")
    parser.add_argument("--genes", **MANY, metavar="GENE", help="genes drawn on the tissue (default: four)")


def check(arguments: argparse.Namespace, inputs: Iterable[Path] = ()) -> None:
    """Refuse what cannot be written, before anything long begins.

    Raises:
        ConfigError: the page's name does not end in .html, or matplotlib is not installed.
        DataError: the folder of figures is there already, or the place of the page holds an input or not a page of bleep.

    """
    if arguments.report is not None:
        from bleep.outputs import check_output

        if arguments.report.suffix != ".html":
            raise ConfigError(f"--report {arguments.report}: expected a name ending in .html")
        check_output(arguments.report, inputs, overwrite=arguments.overwrite)
        if _has_tiles(arguments):
            from bleep.viz.page import tiles_folder

            check_output(tiles_folder(arguments.report), inputs, overwrite=arguments.overwrite)
    figures, heat = getattr(arguments, "figures", None), getattr(arguments, "heat_maps", 0)
    if heat < 0 or (heat and figures is None):
        raise ConfigError(f"--heat-maps {heat}: expected a number of tiles, with --figures FOLDER to draw them into")
    umap = getattr(arguments, "umap", False)
    if umap and figures is None:
        raise ConfigError("--umap: says what is drawn; name the folder with --figures FOLDER")
    if getattr(arguments, "paper", False) and figures is None:
        raise ConfigError("--paper: says how figures are drawn; name their folder with --figures FOLDER")
    if figures is not None:
        from bleep.files import check_writable

        if figures.exists():
            raise DataError(f"--figures {figures}: is there already; name another folder, or remove it")
        check_writable(figures)
        for library in ("matplotlib", "sklearn", *("umap",) * umap):
            _need(library, "--figures", "plots")


def places(arguments: argparse.Namespace) -> list[tuple[str, Path | None]]:
    """Return where the page, its tiles, figures and explanations go, each after its flag."""
    found: list[tuple[str, Path | None]] = [("--report", arguments.report), ("--figures", getattr(arguments, "figures", None))]
    if arguments.report is not None and _has_tiles(arguments):
        from bleep.viz.page import tiles_folder

        found.append(("--report", tiles_folder(arguments.report)))
    if hasattr(arguments, "explain") and explanations_asked(arguments):
        found.append(("--explain-out", _explanations_folder(arguments)))
    return found


def show_evaluation(arguments: argparse.Namespace, experiments: "Sequence[Opened]", table: "Table") -> None:
    """Write the page and the figures of a comparison that were asked for."""
    if arguments.report is not None:
        from bleep.viz.page import write_page
        from bleep.workflows.report import evaluation_page

        _written(arguments.report, write_page(evaluation_page(experiments, table), arguments.report))
    if arguments.figures is not None:
        from bleep.workflows.figures import draw_figures

        drawn = draw_figures(
            experiments,
            table,
            arguments.figures,
            arguments.genes,
            arguments.heat_maps,
            paper=arguments.paper,
            umap=arguments.umap,
        )
        for name, finding in drawn.items():
            print(f"{arguments.figures / name}.png: {finding}")


def show_labels(arguments: argparse.Namespace, table: "LabelTable") -> None:
    """Write the page and the figures of a comparison of labels that were asked for."""
    if arguments.report is not None:
        from bleep.viz.page import write_page
        from bleep.workflows.figures import label_page

        write_page(label_page(table), arguments.report)
        print(f"{arguments.report}: a page of {len(table.classes)} classes; open it in a browser, it needs no network")
    if arguments.figures is not None:
        from bleep.workflows.figures import draw_label_figures

        drawn = draw_label_figures(table, arguments.figures, arguments.heat_maps, paper=arguments.paper)
        for name, finding in drawn.items():
            print(f"{arguments.figures / name}.png: {finding}")


def check_size(
    arguments: argparse.Namespace, tiles: int, way: str = "query fewer sections at a time, take a larger --step"
) -> None:
    """Refuse a page of more tiles than it can show, and name a `way` out.

    Raises:
        ConfigError: saying how many there are.

    """
    if arguments.report is not None and tiles > MOST:
        raise ConfigError(
            f"--report: a page shows at most {MOST:,} tiles, and there are {tiles:,}; {way}, or leave the page out"
        )


def check_tested(arguments: argparse.Namespace, experiments: "Sequence[Opened]") -> None:
    """Refuse a page of more held-out tiles than it can show, before anything is scored.

    Raises:
        ConfigError: see `check_size`.

    """
    if arguments.report is not None:
        tested = {(one.name, one.ids): len(one) for each in experiments for one in each.split.test}
        check_size(arguments, sum(tested.values()), "evaluate fewer runs at a time")


def show_query(
    arguments: argparse.Namespace,
    run: "Run",
    prediction: "Prediction",
    reference: "Reference | None",
    tiles: "Tiles",
    genes: Sequence[str] = (),
) -> None:
    """Write the page of a prediction, where one was asked for; with `genes`, of these alone, as the file beside it is."""
    if arguments.report is None:
        return
    if genes and prediction.genes != tuple(genes):
        place = {gene: column for column, gene in enumerate(prediction.genes)}
        prediction = prediction[:, [place[gene] for gene in genes]]
    from bleep.viz.page import tiles_folder, write_page
    from bleep.workflows.report import query_page

    page = query_page(run, tiles, prediction, reference, deep_zoom=_has_tiles(arguments))
    _written(arguments.report, write_page(page, arguments.report), "classes" if page.of_classes else "genes")
    if any(view.slide is not None for view in page.views):
        print(f"{tiles_folder(arguments.report)}: the slide in tiles, for the page beside it; send both")


def _written(path: Path, count: int, what: str = "genes") -> None:
    print(f"{path}: a page of {count} {what}; open it in a browser, it needs no network")


def _need(library: str, flag: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise ConfigError(f"{flag} needs {library}, which is not installed: pip install -e '.[{extra}]' in bleep's clone")


def add_explanations(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--explain", type=int, default=None, metavar="N", help="draw the neighbours of N tiles, evenly spread")
    which.add_argument("--explain-tiles", **MANY, metavar="ID", help="draw the neighbours of these tiles, named section/spot")
    parser.add_argument(
        "--explain-out", type=Path, default=None, help="folder of the drawings (default: --out with .explained in its name)"
    )


def check_explanations(arguments: argparse.Namespace) -> None:
    """Refuse flags that make no sense, before anything is read.

    Raises:
        ConfigError: the number is not above 0, or a folder was named and nothing to draw.

    """
    if arguments.explain is not None and arguments.explain < 1:
        raise ConfigError(f"--explain {arguments.explain}: expected a number of tiles, at least 1")
    if arguments.explain_out is not None and not explanations_asked(arguments):
        raise ConfigError(
            f"--explain-out {arguments.explain_out}: says where, but not what; add --explain N or --explain-tiles"
        )


def rows_to_explain(
    arguments: argparse.Namespace,
    tiles: "Tiles",
    predictor: "Predictor",
    reference: "Reference | None",
    inputs: Iterable[Path] = (),
) -> "np.ndarray | None":
    """Return the rows of the tiles that shall be explained, or none; to be asked before tiles are predicted.

    Raises:
        ConfigError: a tile of that name is not there.
        DataError, MismatchError: see `bleep.workflows.explain.check_explaining` and `check_explained`.

    """
    if not explanations_asked(arguments):
        return None
    from bleep.workflows import explain as explaining

    explaining.check_explaining(_explanations_folder(arguments), reference, inputs)
    explaining.check_explained(predictor)
    if arguments.explain is None:
        return explaining.named_rows(tiles, arguments.explain_tiles)
    return explaining.spread_rows(tiles, arguments.explain)


def explain(
    arguments: argparse.Namespace,
    run: "Run",
    prediction: "Prediction",
    reference: "Reference | None",
    tiles: "Tiles",
    rows: "np.ndarray | None",
) -> None:
    """Draw and write the explanations that were asked for."""
    if rows is None or reference is None:
        return
    from bleep.workflows import explain as explaining

    folder = _explanations_folder(arguments)
    explaining.save_explanations(explaining.explain(run, prediction, reference, tiles, rows), folder)
    print(f"{folder}: the neighbours of {len(rows)} tiles, drawn, and in {explaining.NEIGHBORS} and {explaining.GENES}")


def explanations_asked(arguments: argparse.Namespace) -> bool:
    """Return whether explanations are asked for."""
    return arguments.explain is not None or bool(arguments.explain_tiles)


def _explanations_folder(arguments: argparse.Namespace) -> Path:
    out: Path = arguments.out
    return arguments.explain_out or out.with_suffix(".explained")
