"""`bleep cv`: cross-validation over all folds of a recipe."""

import argparse

from bleep.cli.flags import add_settings, load_settings


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Train a run for each fold of data.split (patients, sections, or blocks of a single section) into --out, and score all "
        "of them in one table, whose spread is over everything that was held out. Finished folds are used again."
    )
    parser.add_argument("--calibrate", action="store_true", help="calibrate each run, so that combined is scored too")
    parser.add_argument("--bag", action="store_true", help="also join the folds to an ensemble in OUT/bag, for new tissue")
    parser.add_argument("--overwrite", action="store_true", help="train every fold anew")
    add_settings(parser)
    parser.set_defaults(run_command=_cv)


def _cv(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.evaluation import report
    from bleep.workflows.cross_validate import BAG, check_bag, cross_validate

    if arguments.bag:
        check_bag(config)
    table, folders = cross_validate(config, calibrated=arguments.calibrate, overwrite=arguments.overwrite)
    print(report.as_text(table))
    for path in report.save(table, config.out):
        print(f"written: {path}")
    if arguments.bag:
        from bleep.workflows.ensemble import save_ensemble

        save_ensemble(folders, config.out / BAG, bagged=True)
        print(f"next: bleep query --images FOLDER --run {config.out / BAG}")
    print(f"next: bleep evaluate --run {' '.join(map(str, folders))} --report page.html")
    return 0
