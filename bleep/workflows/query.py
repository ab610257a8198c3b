"""From a trained run to its reference, which can grow, and to predictions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep import runs
from bleep.collectives import of_main
from bleep.data.array_scale import CLEAR, mpp_by_array, pitch_of, ratio, warn_of_arrays
from bleep.data.labels import LABEL, labelled_as, labels_of
from bleep.data.prediction import Prediction
from bleep.data.qc.values import check_added
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.patches import has_patches
from bleep.data.readers.wsi import has_slides
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.evaluation import leakage
from bleep.predictors import Ensemble, Predictor
from bleep.predictors.calibration import CombinedPredictor
from bleep.predictors.conformal import GradeName, chosen
from bleep.predictors.descriptions import share_textures
from bleep.predictors.members import SimplePredictor
from bleep.retrieval import embed
from bleep.retrieval import reference as references
from bleep.retrieval.reference import Reference, change, queried
from bleep.retrieval.reference.identity import Spread
from bleep.runs import Run
from bleep.workflows.asked import by_another_reader, form_asked, reading_of
from bleep.workflows.opened import NO_GRADES, Opened
from bleep.workflows.slides import check_scale, described
from bleep.workflows.tissue import load_split, trained_tissue
from bleep.workflows.unseen import warn_of_trained

if TYPE_CHECKING:
    from anndata import AnnData


PICTURED = ("visium", "segmented", "xenium", "h5ad")
"""Forms whose picture may be named."""

log = logging.getLogger(__name__)


def build_reference(run: Run, spread: Spread | None = None) -> Reference:
    """Embed and index the spots the run was trained on, validation spots not among them.

    With `spread`, such as `partial(Cluster().embed, folder)` of `bleep.workflows.ray_engine`, sections are embedded elsewhere.

    Raises:
        MismatchError: the files have changed since training, or some are gone.

    """
    return references.build(run, trained_tissue(run).train, spread)


def help_build_reference(run: Run) -> None:
    """Do this process's share of the trunk's work while the main process of a launch builds the reference.

    Raises:
        MismatchError: see `build_reference`.

    """
    embed.share_features(run, queried(run, trained_tissue(run).train))


def open_tiles(
    path: str | Path,
    run: Run,
    mpp: float | None = None,
    pixel_limit: int | None = None,
    image: str | Path | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Tiles:
    """Open what a run shall predict: a folder of tiles, a CSV of tiles, or sections in the run's form, or another.

    `image` names the picture of sections whose files hold none, or a better one, `{name}` standing for the section's name;
    it is seen from the folder that the command is run in, and has the scale that `data.image_scale` says. `reading` are
    settings of `data`, such as `{"element": "he"}`, where the run's own do not suit these files.

    Raises:
        DataError: nothing of these is there, or it is a whole slide.
        MismatchError: the tiles do not say their scale, and differ from those the run was trained on.
        ConfigError: `image` is given, and the form has no picture that may be named; or see `reading_of`.

    """
    path, data, reading = Path(path), reading_of(run, reading), dict(reading or {})
    mpp = mpp or (data.mpp if "mpp" in reading else None)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected tiles, a CSV of tiles or a section to predict")
    slides = has_slides(path)
    own = has_form(path, data.source) or (data.source == "patches" and not slides and has_patches(path))
    # Cells of Visium HD have the mark of its spots, scale factors, too.
    own = own and not (data.source == "visium" and form_asked(path, slides=slides) == "segmented")
    own = data.source == run.config.data.source and (own or "source" in reading)
    asked = {
        "root": path,
        "sections": data.sections if "sections" in reading else (),
        "min_counts": 0.0,
        "drop": (),
        "annotations": None,
        "mpp": mpp or data.mpp,
        "pixel_limit": pixel_limit or data.pixel_limit,
    }
    sections = () if image else by_another_reader(data.model_copy(update=asked), run.config.cache, slides=slides)
    form = data.source if own or sections or "source" in reading else form_asked(path, slides=slides)
    if form == "folder" and not own and slides:
        raise DataError(f"{path}: is or holds whole slides, no tiles of one size; give it with --slides instead of --images")
    if form not in (run.config.data.source, "folder"):
        check_scale(run)
        log.info("%s: is read as %s, though the run was trained on %s", path, form, run.config.data.source)
        data, asked["mpp"] = reading_of(run, reading | {"source": form}), mpp
    if image is not None and form not in PICTURED:
        raise ConfigError(f"--image {image}: belongs to sections of {', '.join(PICTURED)}, and {path} is of the form {form}")
    if not sections:
        asked |= {"source": form, "image": data.image if image is None else Path(image).absolute()}
        sections = read_sections(data.model_copy(update=asked), run.config.cache, purpose="query")
    if mpp is None:
        sections = tuple(_of_own_array(_of_own_scale(section), run) for section in sections)
    warn_of_arrays(sections, "--mpp")
    if run.model.classifies:
        sections = _without_folders(sections, run)
        check_known(sections, run)
    if form == "folder" and not own and mpp is None:
        for section in sections:
            _check_scale(path, section.tile_side, run)
    return run.tiles(sections)


def _of_own_scale(section: Section) -> Section:
    """Return a section at the scale that its own files state: `data.mpp` was said of the tissue that was trained on."""
    stated = section.counts.uns.get("bleep", {}).get("mpp")
    if stated is None or abs(stated - section.mpp) <= 0.01 * stated:
        return section
    log.warning(
        "section %s: its own files state %.4g microns per pixel, which is taken; the run's data.mpp %.4g is that of its "
        "training tissue, and --mpp says otherwise", section.name, stated, section.mpp,
    )  # fmt: skip
    return replace(section, mpp=float(stated))


def _of_own_array(section: Section, run: Run) -> Section:
    """Return a section at the scale that its array says, where `data.mpp` clearly is not that of its picture.

    The array is compared with that of the training tissue, where the run noted it: both are then read alike.
    """
    stated, pitch = section.counts.uns.get("bleep", {}).get("mpp"), pitch_of(section)
    if not pitch or stated is not None or run.config.data.mpp is None:
        return section
    trained = [facts.pitch for facts in run.facts.train if facts.pitch]
    usual = float(np.median(trained)) if trained else pitch * (mpp_by_array(section) or 1.0) / section.mpp
    if ratio(pitch, usual) <= CLEAR:
        return section
    mpp = section.mpp * usual / pitch
    log.warning(
        "section %s: at the run's data.mpp of %.4g microns per pixel its spots lie %.3g um apart, where the array has %.3g um: "
        "%.4g microns per pixel are taken", section.name, section.mpp, pitch, usual, mpp,
    )  # fmt: skip
    return replace(section, mpp=mpp)


def _without_folders(sections: tuple[Section, ...], run: Run) -> tuple[Section, ...]:
    """Return tiles of a query without their labels where not one is a class of the run: folders need not be classes."""
    column = run.config.data.label or LABEL
    there = [section for section in sections if column in section.counts.obs]
    named = sorted(set().union(*(labels_of(section, column) for section in there)) - {""})
    if not named or set(named) & set(run.panel.genes):
        return sections
    log.warning(
        "%s, as folders or files call the tiles, are none of the run's classes (%s): taken for no labels",
        ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else ""), ", ".join(run.panel.genes),
    )  # fmt: skip
    return tuple(replace(one, counts=_unlabelled(one.counts, column)) if column in one.counts.obs else one for one in sections)


def _unlabelled(counts: "AnnData", column: str) -> "AnnData":
    counts = counts.copy()
    counts.obs[column] = ""
    return counts


def check_known(sections: Sequence[Section], run: Run) -> None:
    """Refuse tiles that are labelled with a class that a classifier was never trained on.

    Raises:
        MismatchError: naming the class and those that are known.

    """
    column = run.config.data.label or LABEL
    for section in sections:
        if column in section.counts.obs:
            unknown = sorted(set(labels_of(section, column)) - {"", *run.panel.genes})
            if unknown:
                raise MismatchError(
                    f"section {section.name}: holds class {unknown[0]!r}, but the run knows {', '.join(run.panel.genes)}: "
                    "leave those tiles out, or train with them"
                )


def predict(run: Run, predictor: Predictor, tiles: Tiles) -> Prediction:
    """Predict tiles, and say aloud which sections the run was trained on."""
    warn_of_trained(predictor.runs if isinstance(predictor, Ensemble) else [run], tiles)
    return described(predictor.predict(tiles), tiles, run)


def confident_genes(experiment: Opened, predictor: Predictor, least: GradeName, genes: Sequence[str]) -> tuple[str, ...]:
    """Return those of some genes, or of the whole panel, that the run's calibration graded `least` or better.

    Raises:
        ConfigError: the predictor is not the combined one, its calibration has no grades, or no gene is left.

    """
    confidence = None if experiment.is_ensemble or experiment.calibration is None else experiment.calibration.confidence
    if confidence is None or predictor.name != CombinedPredictor.name:
        why = "run `bleep calibrate` first" if confidence is None else "leave --predictor, --k and --weights out"
        why = "an ensemble has none, so query one of its runs" if experiment.is_ensemble else why
        why = NO_GRADES if experiment.run.model.classifies else why
        raise ConfigError(f"--min-confidence: goes by the calibration of the combined predictor of {experiment.folder}; {why}")
    found = chosen(confidence.frame(experiment.run.panel.genes), least)
    # A gene that is not of the panel stays, and is refused as without this flag.
    kept = tuple(gene for gene in genes if gene in found or gene not in experiment.run.panel.genes) if genes else found
    if not kept:
        counts = ", ".join(f"{count} {grade}" for grade, count in confidence.summary().items())
        raise ConfigError(f"--min-confidence {least}: no gene asked for is graded so; the panel's genes are: {counts}")
    return kept


def share_features(run: Run, tiles: Tiles, predictor: Predictor | None = None) -> None:
    """Put what a predictor sees of tiles into the cache, each process of a launch computing a part; all must call it.

    It is what the run's trunk says of them and, where its members see any, the texture of the stains. The predictor is that of
    the main process; others need none.

    Raises:
        MismatchError: the tiles are cut otherwise than the run's own.

    """
    embed.share_features(run, tiles)
    trunk = of_main(_textures_of(predictor))
    if trunk:
        share_textures(run, tiles, trunk)


def _textures_of(predictor: Predictor | None) -> str:
    """Return the trunk whose textures a predictor's members see; empty: none that counts sees any."""
    if not isinstance(predictor, CombinedPredictor):
        return ""
    counted = [predictor.members.get(name) for name in predictor.calibration.stacker.needed]
    return max((member.textures for member in counted if isinstance(member, SimplePredictor)), default="")


def _check_scale(path: Path, pixels: int, run: Run) -> None:
    sides = {facts.tile_side for facts in run.facts.train}
    if sides != {pixels}:
        before = "slides" if sides == {0} else f"tiles of {sides.pop()} pixels"
        shown = max(run.spec.microns)
        raise MismatchError(
            f"{path}: its {pixels}-pixel tiles do not say their scale, and the run was trained on {before}; "
            f"give --mpp, the microns per pixel ({shown / pixels:.3g} if a tile shows {shown:g} microns)"
        )


def read_measured(
    run: Run, root: Path, names: Sequence[str] = (), patient: str | None = None, reading: Mapping[str, Any] | None = None
) -> tuple[Section, ...]:
    """Read measured sections from another place, in the run's own form unless said otherwise.

    Args:
        run: whose `data` settings say how to read.
        root: where they are.
        names: which; all where none are named.
        patient: whom they are from, instead of what the files say.
        reading: settings of `data`, such as `{"layer": "counts"}`, where the run's own do not suit them.

    Raises:
        DataError: they are not there, or damaged.
        ConfigError: see `reading_of`.

    """
    data = reading_of(run, reading)
    sections = read_sections(data.model_copy(update={"root": root, "sections": tuple(names), "drop": ()}), run.config.cache)
    bare = [section.name for section in sections if not len(section.genes) and not run.model.classifies]
    if bare:
        raise DataError(f"{root}: section {bare[0]} holds no measured genes; only measured tissue can answer queries")
    if "mpp" not in (reading or {}):
        sections = tuple(_of_own_array(section, run) for section in sections)
    warn_of_arrays(sections, "data.mpp of the run")
    return sections if patient is None else tuple(replace(section, patient=patient) for section in sections)


def add_sections(run: Run, folder: Path, sections: Sequence[Section], *, allow_held_out: bool = False) -> Reference:
    """Add measured sections to the reference of a run's folder.

    Raises:
        MismatchError: see `Reference.add`.
        DataError: there is no reference, or another process is changing it; or the sections hold logarithms, not counts, or
            lack labels that a classifier is to tell.

    """
    if run.model.classifies:
        check_known(sections, run)
        sections = labelled_as(sections, run.config.data.label or LABEL, run.panel.genes)
    trained, tested = _tissue(run)
    check_added(sections, trained, run.panel.normalise)
    pictures = {one.slide.digest() for one in tested}
    pictures |= {section.slide.digest() for section in sections if any(leakage.copied(one, section) for one in tested)}
    return change(
        folder / runs.REFERENCE,
        lambda before: before.add(run, sections, allow_held_out=allow_held_out, held_out=pictures),
    )


def remove_spots(folder: Path, section: str | None = None, patient: str | None = None) -> Reference:
    """Remove a section, or all sections of a patient, from the reference of a run's folder.

    Raises:
        DataError: there is none of this name, or nothing would be left; or another process is changing it.

    """
    return change(folder / runs.REFERENCE, lambda before: before.remove(section, patient))


def merge_references(folder: Path, other: Path) -> Reference:
    """Add to the reference of a run's folder what another of the same run holds: its folder, or that of its run.

    Raises:
        MismatchError: see `Reference.merge`.
        DataError: one of them is not there, or another process is changing it.

    """
    inside = other / runs.REFERENCE
    second = Reference.load(inside if (other / runs.MODEL).exists() else other)
    return change(folder / runs.REFERENCE, lambda before: before.merge(second))


def _tissue(run: Run) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    """Return the sections a run was trained on, and those it holds out, where its files can still be read."""
    try:
        divided = load_split(run.config)
    except BleepError:
        log.warning(
            "%s: cannot be read any more, so sections that the run holds out are known by name alone", run.config.data.root
        )
        return (), ()
    return divided.train, divided.test
