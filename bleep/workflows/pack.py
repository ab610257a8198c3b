"""A run with its model card as one file, and back."""

import hashlib
import io
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from bleep import runs
from bleep.config import Config
from bleep.errors import BleepError, DataError
from bleep.files import read_json, whole
from bleep.marks import PACKED
from bleep.predictors.calibration import FACTS, FOLDER, TENSORS, calibration_of, numbers_of
from bleep.retrieval.reference import Reference
from bleep.retrieval.reference.identity import check_keys
from bleep.retrieval.reference.storage import elsewhere
from bleep.runs import Run
from bleep.workflows.card import model_card

MANIFEST, CARD, FORMAT = PACKED, "README.md", 1
"""Names inside an archive, and the number of its form."""
PLAIN = (runs.CONFIG, runs.PANEL, runs.BATCH, runs.FACTS, runs.LOG, "evaluation.json", "evaluation.md", "genes.csv", runs.MODEL)
"""Files of a run that are sent where they are there; the weights come last."""
ALLOWED = re.compile(
    rf"(?:{'|'.join(map(re.escape, (*PLAIN, CARD)))}|{FOLDER}/(?:{'|'.join(map(re.escape, (*TENSORS, FACTS)))})"
    rf"|{runs.REFERENCE}/[A-Za-z0-9][\w.\-]*\.(?:faiss|npy|parquet|json|h5ad))"
)
"""Names that an archive may hold; nothing else is written by unpacking."""
CHUNK = 1 << 20
SMALL = 4 << 20
"""Most bytes of the manifest of an archive."""


def pack(folder: Path, out: Path, *, reference: bool = True) -> tuple[Path, ...]:
    """Write a run to one zip file, and return the names of the files in it.

    Without `reference` no measured value of a training spot goes along: the run then predicts by regression alone. Where the
    data lie on this machine is left out of the settings.

    Raises:
        DataError: the folder is no finished run, or has no index though it retrieves; or the file cannot be written.
        MismatchError: its index or its calibration belongs to another run, or one to another of the two.

    """
    run = Run.load(folder)
    if not reference and not run.model.regresses:
        raise DataError(
            f"{folder}: predicts by retrieval alone, which needs its reference; train with loss.task both to send none"
        )
    names = [name for name in _names(folder) if reference or not name.startswith((f"{runs.REFERENCE}/", f"{FOLDER}/"))]
    calibration = calibration_of(run, folder) if any(name.startswith(f"{FOLDER}/") for name in names) else None
    held: Reference | None = None
    if f"{runs.REFERENCE}/manifest.json" in names:
        _check_here(folder, names, alone=not run.model.regresses)
        held = Reference.load(folder / runs.REFERENCE)
        held.check(run)
        check_keys({} if calibration is None else calibration.identity, held.keys)
    elif reference and run.model.retrieves and not run.facts.unindexed:
        raise DataError(f"{folder}: has no index to predict by; make it first with `bleep index build --run {folder}`")
    card = model_card(run, _evaluation(folder), reference=held, calibration=calibration)
    texts = {CARD: card, runs.CONFIG: yaml.safe_dump(portable(run.config.dump()), sort_keys=False)}
    if not reference and run.model.retrieves:
        texts[runs.FACTS] = json.dumps(asdict(replace(run.facts, unindexed=True)), indent=2)
    facts: dict[str, dict[str, Any]] = {}
    with whole(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in [CARD, *names]:
            source = io.BytesIO(texts[name].encode()) if name in texts else (folder / name).open("rb")
            with source, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
                facts[name] = _copied(source, target, None, name)
        tree = {"format": FORMAT, "version": run.facts.version, "weights": run.weights_digest(), "files": facts}
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(tree, indent=1))
    return tuple(Path(name) for name in facts)


def unpack(archive: Path, out: Path) -> tuple[Path, ...]:
    """Write the run in a file to a new folder, and return its files; nothing outside that folder is touched.

    Every name is one that a run has, every size is declared before it is read, and every part has the sha256 that the
    archive's manifest says. The folder appears whole or not at all.

    Raises:
        DataError: it is no such file, is damaged, holds other names, or `out` is there.

    """
    if out.exists():
        raise DataError(f"{out}: is there already; choose another --out")
    try:
        with zipfile.ZipFile(archive) as held:
            declared = _declared(archive, held)
            room = shutil.disk_usage(next(p for p in out.absolute().parents if p.exists())).free
            if sum(facts["bytes"] for facts in declared.values()) > room:
                raise DataError(f"{archive}: needs more disk than the {room / 1e9:.1f} GB free at {out.absolute().parent}")
            with whole(out) as temporary:
                for name, facts in declared.items():
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    with held.open(name) as source, (temporary / name).open("wb") as target:
                        found = _copied(source, target, facts["bytes"], f"{archive}: {name}")
                    if found != facts:
                        raise DataError(f"{archive}: {name} is not what the archive's manifest says; ask for the file again")
                _check_whole(archive, temporary)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: is no whole file of `bleep pack` ({error}); ask for it again") from None
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{archive}: no such file; expected one written by `bleep pack`") from None
    return tuple(out / name for name in declared)


def _check_whole(archive: Path, folder: Path) -> None:
    """Refuse what is no run; what is said of it names the archive, as the folder does not stay."""
    try:
        Run.load(folder)
    except BleepError as error:
        told = str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")
        if not isinstance(error, DataError) or told.startswith("its part "):  # of another package, which can be installed
            raise type(error)(f"{archive}: {told}") from None
        raise DataError(f"{archive}: holds no whole run ({told.split('; ')[0]}); ask for it again") from None


def _declared(archive: Path, held: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every part, the names and sizes checked."""
    entries = {info.filename: info for info in held.infolist()}
    if MANIFEST not in entries or len(entries) != len(held.infolist()) or entries[MANIFEST].file_size > SMALL:
        raise DataError(f"{archive}: is no file of `bleep pack`: it has no {MANIFEST}, or names stand twice")
    files = read_manifest(held.read(MANIFEST), str(archive))
    if set(files) != set(entries) - {MANIFEST}:
        strange = sorted({*entries} - {MANIFEST} - set(files))
        raise DataError(f"{archive}: holds {strange[0] if strange else 'other files than it declares'!r}, which no run has")
    wrong = [name for name, facts in files.items() if facts["bytes"] != entries[name].file_size]
    if wrong:
        raise DataError(f"{archive}: {wrong[0]} is not of the size that is declared; ask for the file again")
    return files


def read_manifest(text: bytes, what: str) -> dict[str, dict[str, Any]]:
    """Return the declared size and sha256 of every part of a run that was sent.

    Raises:
        DataError: it is damaged, of another form, or names what no run has.

    """
    try:
        tree = json.loads(text)
        files = {str(name): {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in tree["files"].items()}
        form = tree["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise DataError(f"{what}: its {MANIFEST} is damaged; ask for the file again") from None
    if form != FORMAT:
        raise DataError(f"{what}: is of form {form!r}, this version of bleep reads form {FORMAT}; install the other version")
    strange = sorted(name for name in files if not ALLOWED.fullmatch(name))
    if strange:
        raise DataError(f"{what}: holds {strange[0]!r}, which no run has")
    return files


PLACES = {("image", "weights"), ("image", "also_weights"), ("data", "options"), ("index", "uri")}
"""Settings that may be a path, or name something else."""


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings without the folders of this machine: of every path its last part."""
    shown = {part: dict(inner) if isinstance(inner, dict) else inner for part, inner in config.items()}
    for part, field in Config.model_fields.items():
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            if "Path" in str(inner.annotation) or (part, key) in PLACES:
                shown[part][key] = _without_folder(shown[part].get(key))
    drop = shown["data"].get("drop", ())
    shown["data"]["drop"] = [_without_folder(one) if one.lower().endswith(".csv") else one for one in drop]
    return shown | {"out": "runs/unpacked", "cache": "cache"}


def _without_folder(value: Any) -> Any:
    """Return the last part of a path, of each of several; what is no path, or a URL, as it is."""
    if isinstance(value, dict):
        return {key: _without_folder(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folder(one) for one in value]
    if not isinstance(value, str) or "://" in value or not re.search(r"[/\\]", value):
        return value
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1]


def _names(folder: Path) -> Iterator[str]:
    """Yield the files of a run that predicting needs, the weights last."""
    yield from (name for name in PLAIN[:-1] if (folder / name).is_file())
    if (folder / FOLDER / FACTS).is_file():
        yield from (f"{FOLDER}/{name}" for name in (numbers_of(folder / FOLDER), FACTS))
    index = folder / runs.REFERENCE
    if (index / "manifest.json").is_file():
        tree = read_json(index / "manifest.json", "the manifest of a reference")
        old = [path.name for path in sorted(index.iterdir()) if path.suffix in (".faiss", ".h5ad")]
        files = tree.get("files", old)
        if not isinstance(files, dict | list) or not isinstance(tree.get("expression", {}), dict):
            raise DataError(f"{index / 'manifest.json'}: is damaged; run `bleep index build` again")
        yield from (f"{runs.REFERENCE}/{name}" for name in sorted(map(str, files)))
        yield f"{runs.REFERENCE}/manifest.json"
    yield runs.MODEL


def _check_here(folder: Path, names: Sequence[str], *, alone: bool) -> None:
    """Refuse a reference of which a part lies elsewhere, or which `unpack` would refuse."""
    away = elsewhere(read_json(folder / runs.REFERENCE / "manifest.json", "the manifest of a reference"))
    way_out = "--index.store faiss --index.expression_url ''"
    if not away and (strange := next((name for name in names if not ALLOWED.fullmatch(name)), None)):
        away, way_out = f"an index of another package, {strange}", "--index.kind auto"
    if away:
        raise DataError(
            f"{folder}: has {away}, which no file of `bleep pack` takes along; make it anew by "
            f"`bleep index build --run {folder} {way_out}`{'' if alone else ', or leave it out by --no-reference'}"
        )


def _evaluation(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation.json"
    found = read_json(path, "the scores of a run") if path.is_file() else {}
    rows = found.get("predictors") or {}
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise DataError(f"{path}: is damaged, or of something else; run `bleep evaluate` again, or remove it")
    return found


def _copied(source: Any, target: Any, most: int | None, what: str) -> dict[str, Any]:
    """Copy, and return size and sha256; stop when more comes than was declared."""
    joined, count = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        count += len(chunk)
        if most is not None and count > most:
            raise DataError(f"{what} holds more than is declared; ask for the file again")
        joined.update(chunk)
        target.write(chunk)
    return {"bytes": count, "sha256": joined.hexdigest()}
