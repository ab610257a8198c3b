"""What the contest's systems are worth on real tissue: their heads, targets and losses on frozen trunks, one table.

    python benchmarks/quality/seeds.py --root data/her2st --cnn LITE0.safetensors --vit VIT.safetensors

Protocol her2st-c is written in the contest's form, fold by fold; every recipe of configs/seeds is laid over
configs/contest.yaml, its trunk frozen and another in its place (`STANDS_IN`), trained with some seeds, and scored on the
section held out, by the contest's formula and by the protocol's. Runs that are there are not trained again. Nothing was
chosen by this table. The record goes to benchmarks/results/seeds.{md,json}, and is written anew after every fold.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

os.environ["TQDM_DISABLE"] = "1"
from contest_form import write

from bleep import runs
from bleep.config import Config
from bleep.contest import PARTS, ContestTable, GeneLists, contest_score
from bleep.data.panel import GenePanel
from bleep.data.tiles import TileSpec
from bleep.evaluation.metrics import pearson
from bleep.files import write_json, write_text
from bleep.predictors import MeanOfPredictors, Predictor
from bleep.predictors.baselines import RidgePredictor, baselines_of
from bleep.predictors.calibration import FOLDER, Calibration, predictors_of
from bleep.runs import Run
from bleep.workflows.calibrate import calibrate
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference, open_tiles
from bleep.workflows.tissue import load_split

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
PROTOCOL = CONFIGS / "her2st-c.yaml"
STANDS_IN = {"cnn": "EfficientNet-lite0", "vit": "ViT-S/14, block 5", "two": "EfficientNet-lite0 + ViT-S/14, block 5"}
TRUNKS = {"cnn": ("tf_efficientnet_lite0", None), "vit": ("vit_small_patch14_dinov2", 5)}
HEAD = {
    "epochs": 60,
    "patience": 60,
    "keep": [],
    "lr": 1e-3,
    "trunk_lr": 1e-5,
    "schedule": "cosine",
    "warmup": 0.05,
    "chunk": None,
}
"""How heads on frozen features are trained, all alike: the recipes' rates and epochs are those of whole trunks."""
RATES = (1 / 3, 2 / 3, 1, 5 / 3, 10 / 3)
"""Of the five members, as shares of the rate: as their recipe has them."""
TOP = 100
Tree = Mapping[str, Any]


class Row(NamedTuple):
    """A row of the table."""

    recipes: tuple[str, ...]
    """Those that are one and the same once their trunk is another's, by their place in configs/."""
    trunk: str
    rates: tuple[float, ...] = (1,)
    """Of several members whose predictions are averaged."""
    again: Tree = MappingProxyType({})
    """What is laid over them last."""


ROWS = {
    "linear on 1000 logits": Row(("seeds/resnet50-logits", "seeds/resnet50-logits-longer"), "cnn"),
    "linear on pooled features": Row(
        tuple(
            f"seeds/{name}"
            for name in (
                "resnet50-pooled", "googlenet", "efficientnet-b1", "se-resnet50", "efficientnet-b0", "inception-resnet-v2",
            )
        ),
        "cnn",
    ),
    "linear, targets from 0 to 1": Row(("seeds/vit-s16-minmax",), "vit"),
    "linear on two trunks, targets from 0 to 1": Row(("seeds/efficientnet-b1-vit-s16",), "two"),
    "MSE + Pearson + 5 HEG + 2 HVG": Row(("seeds/four-losses",), "cnn"),
    "linear, frozen as it says itself": Row(("seeds/vit-b16-frozen",), "vit"),
    "SiLU, five rates averaged": Row(("seeds/efficientnet-b0-five",), "cnn", RATES),
    "SiLU, dropout, linear": Row(("seeds/inception-resnet-v2-silu",), "cnn"),
    "BLEEP as published": Row(("presets/bleep-2023",), "cnn", again={"optim": {"epochs": 150, "schedule": "constant"}}),
    "this library's recipe": Row((), "vit", again={"loss": {"task": "both", "pearson": 0.0}, "optim": {"gene_dropout": 0.5}}),
    "ST-Net (SGD, z-scores, 8 views)": Row(("seeds/st-net",), "cnn"),
}  # fmt: skip
OWN, POOLED = "this library's recipe", "linear on pooled features"
"""The row that is calibrated, and whose features all floors stand on; and the one whose features ridge alone does."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="data.root")
    parser.add_argument("--cnn", required=True, help="weights of EfficientNet-lite0")
    parser.add_argument("--vit", required=True, help="weights of the ViT-S/14")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"), help="folder of tables and runs")
    parser.add_argument("--result", type=Path, default=REPOSITORY / "benchmarks/results/seeds", help="record, without suffix")
    arguments = parser.parse_args()
    weights = {"cnn": arguments.cnn, "vit": arguments.vit}
    folds = Config.load(PROTOCOL).data.folds
    forms = [form(arguments.root, fold, arguments.out / "form") for fold in range(folds)]
    found: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for fold, place in enumerate(forms):
            for name, row in ROWS.items():
                scores = one(name, row, weights, place, arguments.out / f"fold{fold}-seed{seed}", seed)
                found += [{"fold": fold, "seed": seed, "row": name, **score} for score in scores]
                print(fold, seed, name, {score["predictor"]: round(score["pcc"], 4) for score in scores}, flush=True)
            record(found, arguments.seeds * len(forms), arguments.result)


def form(root: str, fold: int, out: Path) -> Path:
    """Write a fold in the contest's form, unless it is there; the sections' names stand in the training table."""
    place = out / f"fold{fold}"
    if (place / "done").exists():
        return place
    config = Config.load(PROTOCOL, {"data": {"root": root, "fold": fold}})
    divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    write(divided, panel, TileSpec(config.tiles.pixels, config.tiles.microns[:1]), place, corrected=False)
    table = pd.read_csv(place / "train.csv")
    table.insert(2, "section", [section.name for section in divided.train for _ in range(len(section))])
    table.to_csv(place / "train.csv", index=False)
    (place / "done").touch()
    return place


def frozen(recipe: str | None, row: Row, weights: Mapping[str, str]) -> Config:
    """Return a recipe over that of the contest, on the trunk that stands in for its own."""
    first, *also = ("cnn", "vit") if row.trunk == "two" else (row.trunk,)
    image = {
        "trunk": TRUNKS[first][0],
        "weights": weights[first],
        "layer": TRUNKS[first][1],
        "train": "frozen",
        "also": [TRUNKS[one][0] for one in also],
        "also_weights": [weights[one] for one in also],
        "also_layers": [TRUNKS[one][1] for one in also],
    }
    recipes = [] if recipe is None else [CONFIGS / f"{recipe}.yaml"]
    return Config.load(CONFIGS / "contest.yaml", *recipes, {"image": image, "optim": HEAD}, row.again)


def alike(row: Row, weights: Mapping[str, str]) -> Config:
    """Return the settings that all recipes of a row come to."""
    found = [frozen(recipe, row, weights) for recipe in row.recipes or (None,)]
    for recipe, config in zip(row.recipes, found, strict=False):
        if config != found[0]:
            raise SystemExit(f"{recipe} is not {row.recipes[0]} on the same trunk: give it a row of its own")
    return found[0]


def one(name: str, row: Row, weights: Mapping[str, str], place: Path, out: Path, seed: int) -> list[dict[str, Any]]:
    """Train a row on one fold with one seed, unless it is there, and score it."""
    base = alike(row, weights)
    cache = {"cache": str(out.parent / "cache")}
    members: list[dict[str, Predictor]] = []
    for number, rate in enumerate(row.rates):
        slug = "".join(letter if letter.isalnum() else "-" for letter in f"{name}{number}")
        last = {"data": {"root": str(place / "train.csv")}, "optim": {"lr": base.optim.lr * rate}, "seed": seed}
        config = Config.load(base.dump(), last, cache, {"out": str(out / slug)})
        run = fit(config, resume=True)
        members.append(predictors(name, run, out / slug))
    found = members[0] if len(members) == 1 else {"regression": MeanOfPredictors([each["regression"] for each in members])}
    tiles = open_tiles(place / "test.csv", run)
    truth, train = ContestTable.read(place / "truth.csv"), ContestTable.read(place / "train.csv")
    order = [run.panel.genes.index(gene) for gene in truth.genes]
    known = train.columns(truth.genes).astype(np.float64)
    lists = GeneLists.of(known.mean(axis=0), known.var(axis=0), TOP, "over the training samples")
    return [
        {"predictor": which, **scored(each.predict(tiles).expression[:, order], truth, lists)} for which, each in found.items()
    ]


def predictors(name: str, run: Run, folder: Path) -> dict[str, Predictor]:
    """Return a run's predictors; of the pooled features ridge too; of this library's recipe the combined one and all floors."""
    reference = None
    if run.config.loss.task != "regression":
        reference = build_reference(run)
        reference.save(folder / runs.REFERENCE)
    if name == POOLED:
        ridge = RidgePredictor.fit(run, run.tiles(load_split(run.config).train))
        return predictors_of(run, reference) | {ridge.name: ridge}
    if name != OWN:
        return predictors_of(run, reference)
    kept = folder / FOLDER
    calibration = Calibration.load(kept) if (kept / "calibration.json").exists() else calibrate(folder)
    floors = baselines_of(run, run.tiles(load_split(run.config).train))
    return predictors_of(run, reference, calibration) | floors


def scored(predicted: np.ndarray, truth: ContestTable, lists: GeneLists) -> dict[str, float]:
    """Return the contest's score, its parts, and the protocol's mean correlation."""
    score = contest_score(predicted, truth.values, lists)
    return {"score": score.total, **score.parts, "pcc": float(np.nanmean(pearson(predicted, truth.values)))}


def record(found: Sequence[Mapping[str, Any]], wanted: int, result: Path) -> None:
    """Write what is known so far: means over sections and seeds, and the spread over sections."""
    table = pd.DataFrame(found)
    done = len(table[["fold", "seed"]].drop_duplicates())
    keys = ["score", *PARTS, "pcc"]
    sections = table.groupby(["row", "predictor", "fold"])[keys].mean().groupby(["row", "predictor"])
    mean, spread = sections.mean(), sections.std(ddof=1)
    lines = [
        *about(done, wanted),
        "| head, targets, loss | trunk in its place | predictor | PCC | score | samples | best gene | HEG | HVG |",
    ]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row, predictor in mean.sort_values("pcc", ascending=False).index:
        beside = spread.loc[(row, predictor), "pcc"]
        cells = [f"{mean.loc[(row, predictor), 'pcc']:.3f}" + ("" if np.isnan(beside) else f" ± {beside:.3f}")]
        cells += [f"{mean.loc[(row, predictor), key]:.3f}" for key in ("score", *PARTS)]
        lines.append(f"| {row} | {STANDS_IN[ROWS[row].trunk]} | {predictor} | {' | '.join(cells)} |")
    lines += ["", *which(), ""]
    write_text(result.with_suffix(".md"), "\n".join(lines))
    write_json(result.with_suffix(".json"), {"done": done, "wanted": wanted, "scores": list(found)})


def about(done: int, wanted: int) -> list[str]:
    return [
        "# The contest's systems on her2st-c",
        "",
        f"`python benchmarks/quality/seeds.py`, {done} of {wanted} pairs of fold and seed: breast cancer, sections C2 to C5 of "
        "one patient in the contest's form, three train and the fourth tests, 250 genes chosen on the training sections, one "
        "window of 155 um. Leak: **same patient**. A random fifth of the training tiles chose the epoch (that leaks, and only "
        "towards too late an epoch).",
        "",
        "**Every trunk is frozen, and none is the one its system names**: no weights of those were at hand. So a row says what "
        "a head, its targets and its loss are worth on one and the same features, and nothing of what a trunk is worth, nor "
        "of training it whole. Rows of different trunks do not compare. Heads are trained alike: 60 epochs, rate 1e-3, "
        "cosine (BLEEP's: 150, constant).",
        "",
        "PCC: mean over genes of r over the section's spots, mean ± spread over sections. The score is the contest's, with its "
        f"four parts; lists of {TOP} genes, chosen on training tiles.",
        "",
    ]


def which() -> list[str]:
    """Return which recipe each row is of, and how each is run as it is."""
    lines = ["A row is of these recipes, which are one and the same once their trunk is another's:", ""]
    lines += [f"- {name}: {', '.join(f'`{each}.yaml`' for each in row.recipes)}" for name, row in ROWS.items() if row.recipes]
    lines += [
        f"- {OWN}: `contest.yaml` with `loss.task: both`; mean and the other floors stand on its features, ridge on "
        "those of EfficientNet-lite0 too",
        "",
        "As they are, with the trunk that they name learning, they need its weights from the hub, and a GPU: on one core "
        "a ResNet50 takes 0.33 s for each tile of a step, so two cores take a quarter of an hour for an epoch of the contest's "
        "training tiles, and nearly two hours for 10 epochs of four folds and three seeds here, each recipe. A file's "
        "comment has its command, of this form:",
        "",
        "```text",
        "accelerate launch bleep/train.py --config configs/contest.yaml configs/seeds/NAME.yaml \\",
        "  --data.root data/contest/train.csv --out runs/NAME",
        "```",
    ]
    return lines


if __name__ == "__main__":
    main()
