"""Commands before and beside the work: `init`, `config`, `doctor` and `demo`."""

import argparse
import importlib.metadata
import importlib.util
import platform
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli import add_settings, load_settings, overrides
from bleep.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bleep.workflows.init import Plan


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    # The setting `out`, a run's folder, gives way to the file of the recipe; `config` is not read, it is made.
    parser.conflict_handler = "resolve"
    parser.description = (
        "Look at a folder of tissue, say what was found and by what evidence, write a recipe in which every choice is "
        "explained, check the data, and print the next line to type. A setting that is given as a flag is not guessed."
    )
    add_settings(parser)
    own = parser.add_argument_group("init")
    own.add_argument("folder", type=Path, help="where the tissue is: a folder, or one .h5ad or .csv file")
    own.add_argument("--out", type=Path, default=Path("own.yaml"), help="the recipe to write (default: own.yaml)")
    own.add_argument("--overwrite", action="store_true", help="replace the recipe if it is there")
    parser.set_defaults(run_command=_init)


def _init(arguments: argparse.Namespace) -> int:
    if arguments.out.exists() and not arguments.overwrite:
        raise DataError(f"{arguments.out}: is there already; add --overwrite to replace it, or choose another --out")
    from bleep.config import Config
    from bleep.config.base import merged
    from bleep.data.qc import as_text
    from bleep.files import check_writable, write_text
    from bleep.outputs import check_output
    from bleep.workflows import Inputs
    from bleep.workflows.data import check
    from bleep.workflows.init import as_yaml, plan

    check_writable(arguments.out)
    over = merged(Config.load(*arguments.config).model_dump(mode="json", exclude_unset=True), overrides(arguments))
    made = plan(arguments.folder, {**over, "out": f"runs/{arguments.out.stem}"})
    inputs = Inputs([arguments.folder, *arguments.config], configs=[made.config()])
    check_output(arguments.out, inputs, overwrite=True)
    width = max(len(guess.what) for guess in made.guesses)
    for guess in made.guesses:
        print(f"{guess.what:{width}s}  {guess.found} ({guess.evidence})")
    made = _asked(made)
    text = as_yaml(made)
    found = check(made.config())
    write_text(arguments.out, text)
    print("\n" + as_text(found, min(max(shutil.get_terminal_size((110, 24)).columns, 60), 120)))
    print(f"written: {arguments.out}")
    again = f"bleep data check {shlex.quote(str(arguments.out))}"
    print(f"next: {again}" if found.spoiled else f"next: bleep train --config {shlex.quote(str(arguments.out))}")
    return 1 if found.spoiled else 0


def _asked(made: "Plan") -> "Plan":
    """Ask whether the patients guessed are right, where somebody is there to answer; a split depends on it."""
    if not made.suggested or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return made
    pairs = ", ".join(f"{section} is of {patient}" for section, patient in made.suggested.items())
    if input(f"\nIs it right that {pairs}? [y/N] ").strip().lower() not in ("y", "yes"):
        return made
    from bleep.workflows.init import plan

    data = {**made.settings["data"], "patients": made.suggested}
    data = {key: value for key, value in data.items() if key not in ("split", "folds")}
    return plan(Path(data["root"]), {**made.settings, "data": data})


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show", help="print the settings that recipes and flags give, defaults included", allow_abbrev=False
    )
    add_settings(show)
    show.set_defaults(run_command=_show)
    docs = actions.add_parser("docs", help="print every setting with its meaning, as Markdown", allow_abbrev=False)
    docs.set_defaults(run_command=_docs)
    names = actions.add_parser("list", help="list the recipes that came with bleep, by name", allow_abbrev=False)
    names.set_defaults(run_command=_list)


def _show(arguments: argparse.Namespace) -> int:
    import yaml

    print(yaml.safe_dump(load_settings(arguments).dump(), sort_keys=False), end="")
    return 0


def _docs(arguments: argparse.Namespace) -> int:
    print(settings_markdown(), end="")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from bleep.config import described_recipes, recipes_folder

    for name, text in described_recipes():
        print(f"{name}: {text}")
    print(f"files: {recipes_folder()}")
    print("next: bleep config show --config NAME")
    return 0


def settings_markdown() -> str:
    """Return a table of every setting, a part for each section of the tree."""
    from bleep.config import describe_fields

    lines: list[str] = []
    part = ""
    for name, kind, default, text in describe_fields():
        head = name.split(".")[0] if "." in name else "run"
        if head != part:
            part = head
            lines += ["", f"## {head}", "", "| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
        lines.append(f"| `{name}` | {kind.replace('|', 'or')} | `{default or '(empty)'}` | {text} |".replace("\n", " "))
    return "\n".join(lines[1:]) + "\n"


PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "scipy", "anndata", "pillow", "safetensors")
EXTRAS = {
    "plots": ("matplotlib", "sklearn", "umap"),
    "spatialdata": ("spatialdata",),
    "wsi": ("tiffslide", "tifffile", "openslide", "pyvips", "skimage"),
    "harmony": ("harmonypy",),
    "tune": ("optuna",),
    "lora": ("peft",),
    "track": ("trackio",),
}
"""The modules each extra brings."""
ROOM = 5
"""GB of free disk below which runs and caches may not fit."""


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add nothing but the command."""
    parser.set_defaults(run_command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    findings: list[str] = []
    print(f"bleep {importlib.metadata.version('bleep-st')}, Python {platform.python_version()} on {platform.platform()}")
    print("packages: " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))
    findings += _devices()
    findings += _faiss()
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        hint = f"not installed (pip install -e '.[{extra}]' in bleep's clone)"
        print(f"extra {extra}: {hint if missing else 'installed'}")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"free disk here: {free:.0f} GB")
    if free < ROOM:
        findings.append(f"only {free:.1f} GB of disk are free here: runs and caches may not fit")
    for finding in findings:
        print(f"! {finding}")
    print("all is well" if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


def _devices() -> list[str]:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if found is not None else 0
    print(f"torch: CUDA build {torch.version.cuda or 'none'}, {count} accelerators, {torch.get_num_threads()} CPU threads")
    for number in range(count if found is not None and found.type == "cuda" else 0):
        memory = torch.cuda.get_device_properties(number).total_memory / 1e9
        print(f"  {torch.cuda.get_device_name(number)}, {memory:.0f} GB")
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return [f"torchvision does not fit torch ({str(error).splitlines()[0]}): install both from the same index"]
    return []


def _faiss() -> list[str]:
    from bleep.retrieval.index import facts

    found = facts()
    print(f"FAISS {found['version']} ({found['options']}), {found['gpus']} GPUs")
    if sys.platform == "linux" and found["gpus"] == "0" and "GPU" not in found["options"]:
        import torch

        if torch.cuda.is_available():
            return ["FAISS is the CPU build, but there is a GPU: pip uninstall faiss-cpu; pip install faiss-gpu"]
    return []


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--out", type=Path, default=None, help="folder of the demo (default: runs/demo, or runs/demo-real)")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of training (default: those of the recipe)")
    real = parser.add_argument_group("on real tissue")
    real.add_argument(
        "--real", action="store_true", help="olfactory bulbs of one mouse predict another's, scored beside the floors"
    )
    real.add_argument(
        "--run", default=None, help="a file of `bleep pack`, a run's folder, or hf:USER/NAME (default: one is trained here)"
    )
    real.add_argument("--data", type=Path, default=None, help="the tissue (default: `bleep data download mob`)")
    real.add_argument("--weights", type=Path, default=None, help="file of the trunk's weights, where the hub is out of reach")
    parser.set_defaults(run_command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    arguments.out = arguments.out or Path("runs/demo-real" if arguments.real else "runs/demo")
    if arguments.real:
        return _demo_real(arguments)
    given = next((name for name in ("run", "data", "weights") if getattr(arguments, name) is not None), None)
    if given is not None:
        raise ConfigError(f"--{given}: goes with --real; the demo without it makes its own toy tissue")
    from bleep.demo import run_demo
    from bleep.evaluation import report

    made = run_demo(arguments.out, arguments.epochs)
    print(f"\n{report.as_text(made.table)}\n")
    record = report.save(made.table, arguments.out)[1]
    best = float(made.table.rows["pcc"].max())
    print(f"ceiling: {made.ceiling:.3f} (an oracle that knows the law; the rest is noise); best here {best:.3f}")
    print(f"the table: {record}")
    print(f"predictions of the held-out tiles: {made.predictions}")
    print("\nThe same by hand:")
    epochs = "" if arguments.epochs is None else f" --optim.epochs {arguments.epochs}"
    print(f"next: bleep train --config toy --out runs/toy{epochs}")
    print("next: bleep index build --run runs/toy")
    print(f"next: bleep query --images {shlex.quote(str(arguments.out / 'tissue/test'))} --mpp 1 --run runs/toy")
    print("\nOn your own tissue: docs/tutorial/own-data.md; `bleep config list` names the recipes to start from.")
    return 0


def _demo_real(arguments: argparse.Namespace) -> int:
    if arguments.run is not None and (arguments.weights is not None or arguments.epochs is not None):
        raise ConfigError("--run: is trained already, so --weights and --epochs have no meaning; leave them out")
    from bleep.demo import run_real_demo
    from bleep.evaluation import report

    settings: dict[str, dict[str, object]] = {}
    if arguments.weights is not None:
        settings["image"] = {"weights": str(arguments.weights)}
    if arguments.epochs is not None:
        settings["optim"] = {"epochs": arguments.epochs}
    made = run_real_demo(arguments.out, arguments.run, arguments.data, settings)
    print(f"\n{report.as_text(made.table)}\n")
    origin = (
        f"trained here on {', '.join(made.trained)}"
        if arguments.run is None
        else f"given, trained on {', '.join(made.trained)}"
    )
    print(f"run: {made.run}, {origin}")
    print(f"predictions of {made.held_out}, which it never saw: {made.predictions}")
    print(f"page: {made.page}; open it in a browser, it needs no network")
    if made.packed is not None:
        print(f"packed: {made.packed}, {made.packed.stat().st_size / 1e6:.1f} MB; README.md in it is the model card")
    where = shlex.quote(str(made.run))
    print(f"next: bleep query --run {where} --images FOLDER --out predictions.h5ad --report mine.html")
    return 0
