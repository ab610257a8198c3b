"""Whether calibrated runs tell foreign tiles from those of a held-out section: other organs, and the glass of its own slides.

    python benchmarks/quality/familiarity.py --run runs/quality/her2st-c/fold*-seed0 \
        --foreign configs/mob-mouse.yaml=data/mob configs/muscle-blocks.yaml=data/muscle

For each run, the distance of its held-out section's tiles and of foreign ones from the training tiles, and the area under the
curve: the share of pairs in which the foreign tile is farther. Foreign tiles are cut as the run's own. The record goes to
benchmarks/results/familiarity.{md,json}.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import rankdata

os.environ["TQDM_DISABLE"] = "1"
from bleep.config import ABSTAIN, Config
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.files import write_json, write_text
from bleep.predictors.calibration import calibration_of
from bleep.retrieval.embed import raw_features
from bleep.runs import Run
from bleep.workflows.launch import best_device
from bleep.workflows.tissue import load_split

RESULTS = Path(__file__).resolve().parents[1] / "results"
FOREIGN, GLASS = 70, 20
"""Tiles taken of another organ's section, and of a slide's glass."""
PLAIN = 12.0
"""Glass has a spread of grey below this; what has more is tissue that no spot was measured on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, nargs="+", required=True)
    parser.add_argument("--foreign", nargs="+", required=True, metavar="RECIPE=ROOT")
    arguments = parser.parse_args()
    rows = []
    for folder in arguments.run:
        run = Run.load(folder)
        run.model.to(best_device())
        found = calibration_of(run, folder)
        if found is None:
            raise SystemExit(f"{folder}: is not calibrated; run `bleep calibrate --run {folder}`")
        divided = load_split(run.config)
        (held,) = divided.test
        others = {name: foreign(name, Path(root), run) for name, root in (one.split("=") for one in arguments.foreign)}
        others |= {"glass of its slides": glass(run, (*divided.train, *divided.test)), "plain white": white(held)}
        distance = found.familiarity.cloud.distance
        own = distance(raw_features(run, run.tiles((held,))))
        for name, sections in others.items():
            far = np.concatenate([distance(raw_features(run, run.tiles((section,)))) for section in sections])
            marked = [float((found.familiarity.of(distances) < ABSTAIN).mean()) for distances in (own, far)]
            rows.append({"run": folder.name, "section": held.name, "foreign": Path(name).stem, "tiles": len(far)})
            rows[-1] |= {"auc": auc(own, far), "marked_held_out": marked[0], "marked_foreign": marked[1]}
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    write_json(RESULTS / "familiarity.json", {"rows": rows})
    lines = [
        "# Foreign tiles against held-out ones",
        "",
        f"`python benchmarks/quality/familiarity.py`, {len(arguments.run)} runs. ",
    ]
    lines[-1] += (
        "AUC: share of pairs in which the foreign tile is farther from the training tiles. The last two columns: tiles of "
    )
    lines[-1] += f"familiarity below {ABSTAIN}, which `--abstain` marks."
    lines += [
        "",
        "| foreign tiles | AUC, mean | least | marked, held out | marked, foreign |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, part in table.groupby("foreign", sort=False):
        means = part[["marked_held_out", "marked_foreign"]].mean()
        lines.append(
            f"| {name} | {part['auc'].mean():.3f} | {part['auc'].min():.3f} | {means.iloc[0]:.3f} | {means.iloc[1]:.3f} |"
        )
    write_text(RESULTS / "familiarity.md", "\n".join([*lines, ""]))
    print("\n".join(lines))


def auc(own: np.ndarray, far: np.ndarray) -> float:
    """Return the share of pairs in which the second is the greater; ties count half."""
    ranks = rankdata(np.concatenate([own, far]))
    return float((ranks[len(own) :].sum() - len(far) * (len(far) + 1) / 2) / (len(own) * len(far)))


def foreign(recipe: str, root: Path, run: Run) -> list[Section]:
    """Return some spots of the first section that another recipe reads."""
    data = Config.load(Path(recipe), {"data": {"root": str(root)}}).data
    section = read_sections(data, run.config.cache)[0]
    rows = np.sort(np.random.default_rng(0).permutation(len(section))[:FOREIGN])
    return [section.subset(rows)]


def glass(run: Run, sections: tuple[Section, ...]) -> list[Section]:
    """Return places of slides that are far from every spot and show next to nothing."""
    random, found = np.random.default_rng(0), []
    for section in sections:
        (width, height), half = section.slide.size, max(run.spec.microns) / 2 / section.mpp
        if width <= 2 * half or height <= 2 * half:
            continue
        places = random.uniform([half, half], [width - half, height - half], (2000, 2))
        places = places[cKDTree(section.xy).query(places)[0] > 1.5 * half][: 4 * GLASS]
        if len(places) == 0:
            continue
        bare = unmeasured(section, places)
        images = run.tiles((bare,)).images(range(len(places)))
        plain = np.flatnonzero(images[:, 0].std(axis=(2, 3)).mean(axis=1) < PLAIN)[:GLASS]
        if len(plain):
            found.append(bare.subset(plain))
    return found


def white(section: Section) -> list[Section]:
    """Return tiles of a made-up slide, near white with a little noise, at the scale of a section."""
    side = 4000
    picture = np.clip(np.random.default_rng(0).normal(236, 3, (side, side, 3)), 0, 255).astype(np.uint8)
    places = np.random.default_rng(1).uniform(side * 0.3, side * 0.7, (GLASS, 2))
    return [unmeasured(replace(section, slide=ArraySlide(picture), counts=empty(1), xy=np.full((1, 2), side / 2)), places)]


def unmeasured(section: Section, places: np.ndarray) -> Section:
    return replace(section, name=f"{section.name}-glass", counts=empty(len(places)), xy=places)


def empty(count: int) -> anndata.AnnData:
    return anndata.AnnData(np.zeros((count, 0), np.float32), obs=pd.DataFrame(index=[f"place{row}" for row in range(count)]))


if __name__ == "__main__":
    main()
