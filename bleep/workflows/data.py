"""Data looked at as training would see it: read, measured, divided, and its panel fitted; faults become findings.

And its tiles kept, or a trunk's features of them written for other programs.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from bleep.config import Config
from bleep.data import tiles as store
from bleep.data.array_scale import different_scales
from bleep.data.panel import GenePanel
from bleep.data.qc import Check, Finding, Measures, across, alone, labelling, measure
from bleep.data.readers import copied_picture, read_sections
from bleep.data.section import Section
from bleep.data.splits import Split, split
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import BleepError, ConfigError, DataError
from bleep.features import FeatureReader
from bleep.features.ready import write_ready
from bleep.models.factory import build_trunks
from bleep.models.heads import Standardizer
from bleep.models.image import READY
from bleep.outputs import check_output
from bleep.progress import Progress
from bleep.runs import STORES
from bleep.workflows import Inputs
from bleep.workflows.launch import best_device
from bleep.workflows.tissue import divide


def check(config: Config) -> Check:
    """Look at the data of a configuration.

    Raises:
        DataError: nothing of it can be read.

    """
    read, findings = _read(config)
    sections, measured = _measured(read, config, findings)
    for one in measured:
        findings += alone(one, config)
    findings += across(sections, measured)
    findings += _scales(sections, config, findings)
    findings += _copied(sections, findings)
    findings += labelling(sections, config)
    findings += _divided(sections, config, findings)
    findings.sort(key=lambda finding: finding.severity)
    return Check(tuple(measured), tuple(findings))


def _read(config: Config) -> tuple[tuple[Section, ...], list[Finding]]:
    """Read the sections together; where that fails and they are named, each alone, so that one does not hide the others."""
    data = config.data
    try:
        return read_sections(data, config.cache, purpose="check"), []
    except DataError as error:
        if len(data.sections) < 2:
            raise
        reason = error
    sections: list[Section] = []
    findings: list[Finding] = []
    for name in data.sections:
        try:
            sections += read_sections(data.model_copy(update={"sections": (name,)}), config.cache, purpose="check")
        except DataError as error:
            findings.append(Finding("error", "unreadable", (name,), str(error)))
    if not sections:
        raise reason
    return tuple(sections), findings


def _measured(read: Sequence[Section], config: Config, findings: list[Finding]) -> tuple[list[Section], list[Measures]]:
    """Measure each section; one whose picture is damaged becomes a finding, and is left out."""
    spec, sections, measured = TileSpec.of(config.tiles), [], []
    for section in Progress(read, desc="looking at sections", unit="section", leave=False):
        try:
            measured.append(measure(section, spec, config.seed))
            sections.append(section)
        except DataError as error:
            findings.append(Finding("error", "unreadable", (section.name,), str(error)))
            reason = error
    if not sections:
        raise reason
    return sections, measured


def _scales(sections: Sequence[Section], config: Config, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield that one `data.mpp` is given for pictures of several scales, which training refuses."""
    told = different_scales(sections, config.data.mpp)
    if told and not any(finding.kind == "scale" and finding.severity == "error" for finding in findings):
        yield Finding("error", "scale", tuple(section.name for section in sections), told)


def _copied(sections: Sequence[Section], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield that two sections hold copies of one picture, where that is not said already."""
    told, names = copied_picture(sections)
    if told and not any(finding.kind == "same-tissue" for finding in findings):
        yield Finding("warning", "same-picture", names, told)


def _divided(sections: Sequence[Section], config: Config, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what is wrong with the split, or with the panel fitted on its training side."""
    names, twice = tuple(section.name for section in sections), any(f.kind == "same-tissue" for f in findings)
    classified = config.loss.task == "classify"
    if classified and any(finding.kind in ("no-labels", "one-class") for finding in findings):
        return
    bare = tuple(section.name for section in sections if not len(section.genes))
    if not classified and bare and len(bare) < len(sections):
        yield Finding("error", "nothing-measured", bare, "cannot be trained on beside the others: name those in data.sections")
    try:
        divided = divide(sections, config) if classified else split(sections, config.data, config.seed)
    except BleepError as error:
        if not twice:
            yield Finding("error", "split", names, str(error))
        return
    yield from _leak(divided, names)
    if not classified and any(finding.kind in ("few-shared-genes", "gene-names", "nothing-measured") for finding in findings):
        return
    try:
        GenePanel.fit(divided.train, config.panel)
    except BleepError as error:
        yield Finding("error", "panel", names, str(error))


def _leak(divided: Split, names: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what training shares with the test tissue; an error where the same sections could be split without it."""
    leak, patients = divided.leak, {section.patient for section in (*divided.train, *divided.val, *divided.test)}
    said = f"{leak.detail}, so that scores are "
    if leak.status == "same patient" and len(patients) > 1:
        yield Finding("error", "patient", names, f"{said}too high for new patients; set data.split to patient")
    elif leak.status == "same patient":
        yield Finding("warning", "patient", names, f"{said}those of new sections of one patient, not of new patients")
    elif leak.status == "unknown":
        yield Finding("warning", "patient", names, f"{leak.detail}, else nobody knows whether a patient stands on both sides")
    elif leak.status == "neighbouring tissue":
        yield Finding("warning", "patient", names, f"{said}those of the same tissue; split by section or patient where you can")
    elif leak.status == "random spots":
        yield Finding("error", "leak", names, f"{leak.detail}; set data.split to patient, section or block")


class Tiled(NamedTuple):
    """One section whose tiles are kept."""

    section: str
    tiles: int
    bytes: int
    before: bool
    """They were all there already."""


def tile(config: Config) -> Iterator[Tiled]:
    """Keep the tiles of every section of a configuration below `config.cache`, and yield each as it is done.

    Whatever reads tiles of the same picture under the same spec then finds them there. A stopped run goes on where it was.

    Raises:
        DataError: a section cannot be read, or there is no room for its tiles.

    """
    spec, root = TileSpec.of(config.tiles), config.cache / STORES
    for section in read_sections(config.data, config.cache):
        size = len(section) * len(spec.microns) * 3 * spec.pixels**2
        found = store.find(root, section, spec)
        if found is not None and (found.rows >= 0).all():
            yield Tiled(section.name, len(section), size, before=True)
            continue
        _check_room(config, section.name, size)
        with Progress(total=len(section), desc=f"tiles of {section.name}", unit="tile", leave=False) as bar:
            for done in store.write(root, section, spec):
                bar.update(done - bar.n)
        yield Tiled(section.name, len(section), size, before=False)


def _check_room(config: Config, name: str, size: int) -> None:
    config.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(config.cache).free
    if free < size * 1.05:
        raise DataError(
            f"{config.cache}: the tiles of section {name} take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; "
            "set cache to a larger disk, or tiles.pixels lower"
        )


def features(config: Config, folder: Path, *, overwrite: bool = False) -> Iterator[tuple[Path, int, int]]:
    """Write the features of every section of a configuration under its trunk, and yield each file, its spots and their width.

    The trunk is as its weights come, so it must be frozen; the files are in TRIDENT's form (see `bleep.features.ready`).

    Raises:
        ConfigError: the trunk is to learn, shows several windows, more than the tile, or other stains; or is of ready-made
            features.
        DataError: a section cannot be read, or a file not be written; or one is there that bleep did not write, and
            `overwrite` is not given.

    """
    image = config.image
    against = {
        f"image.train is {image.train}": image.train != "frozen",
        "tiles.microns has several windows": len(config.tiles.microns) != 1,
        f"image.stain is {image.stain}, which brings tiles to those of a training": image.stain != "none",
        "image.context adds what lies around a tile": bool(image.context),
    }
    if what := next((words for words, holds in against.items() if holds), ""):
        raise ConfigError(f"features are written of a frozen trunk and one window, each tile as it is, but {what}")
    if config.image.trunk == READY:
        raise ConfigError(
            f"image.trunk is {READY}: they are in {config.data.features} already; name the trunk to compute others by"
        )
    # As a new run does, so that random weights are the same as its own.
    torch.manual_seed(config.seed)
    trunk, name = build_trunks(config.image, config.tiles.pixels, 1)
    trunk.to(best_device())
    reader = replace(FeatureReader.to_predict(trunk, Standardizer(trunk.width), config), per_section=False)
    sections, inputs = read_sections(config.data, config.cache), Inputs(configs=(config,))
    for section in sections:
        check_output(folder / f"{section.name}.h5", inputs, overwrite=overwrite)
    for section in sections:
        found = reader.read(Tiles((section,), TileSpec.of(config.tiles), config.cache / STORES))
        path = folder / f"{section.name}.h5"
        write_ready(path, section, found, config.tiles.microns[0], name)
        yield path, len(found), found.shape[1]
