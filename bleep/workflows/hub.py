"""A run on the Hugging Face Hub: pushed from its folder, and opened by name, as `hf:user/name@revision`."""

import hashlib
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bleep.errors import ConfigError, DataError
from bleep.files import whole
from bleep.workflows.pack import CHUNK, MANIFEST, SMALL, pack, read_manifest, unpack

PREFIX = "hf:"
LINK = re.compile(r"(?:hf:)?(?P<repo>[\w.\-]+/[\w.\-]+)(?:@(?P<revision>[\w.\-/]+))?")
"""How a run on the hub is named: without a revision, the newest."""
OURS = ["reference/*", "calibration/*", "evaluation.*", "genes.csv", "batch.*"]
"""Parts that an earlier push may have left, and that a run without them must not have."""


def is_link(name: str | Path) -> bool:
    """Whether this names a run on the hub and no folder."""
    return str(name).startswith(PREFIX)


def push(folder: Path, name: str, *, reference: bool = True, public: bool = False) -> str:
    """Send a run, with its model card and a sha256 of each part, to the hub; return the link that will always give the same.

    What is sent is what `bleep pack` writes. The token is the one `hf auth login` or `HF_TOKEN` gives, and is kept nowhere.
    A repository that is not there yet is made, private unless `public`.

    Args:
        folder: the run's folder.
        name: `user/name` on the hub.
        reference: whether the index goes along, which holds measured values of training spots.
        public: whether all may read a repository that is made.

    Raises:
        ConfigError: the name is none of the hub's.
        DataError: the folder is no finished run, or the hub cannot be reached or refuses.

    """
    repo, revision = _parts(name)
    if revision is not None:
        raise ConfigError(f"{name}: a push makes a new revision; name the repository alone, {repo}")
    with tempfile.TemporaryDirectory() as temporary:
        archive, run = Path(temporary) / "run.zip", Path(temporary) / "run"
        pack(folder, archive, reference=reference)
        unpack(archive, run)
        with zipfile.ZipFile(archive) as held:
            (run / MANIFEST).write_bytes(held.read(MANIFEST))
        archive.unlink()
        with _sentence(repo):
            from huggingface_hub import HfApi

            api = HfApi(library_name="bleep", endpoint=os.environ.get("HF_ENDPOINT"))
            api.create_repo(repo, private=not public, exist_ok=True)
            with warnings.catch_warnings():
                # It asks whether parquet is meant: the table of training spots is.
                warnings.simplefilter("ignore")
                done = api.upload_folder(repo_id=repo, folder_path=run, commit_message="A run of bleep", delete_patterns=OURS)
    return f"{PREFIX}{repo}@{done.oid}"


def pull(link: str) -> Path:
    """Return the folder of a run on the hub, each part downloaded once and checked by its size and sha256.

    Downloads lie in the hub's own cache (`HF_HOME`), go on where they were stopped, and serve without a network too. Parts
    that the run's manifest does not name are not downloaded. The folder is a cache: it is not to be written to.

    Raises:
        ConfigError: the link is none.
        DataError: the hub cannot be reached, has no such run, or a part is not what the manifest says.

    """
    repo, revision = _parts(link)
    with _sentence(repo if revision is None else f"{repo}@{revision}"):
        first = _part(repo, MANIFEST, revision, SMALL)
        folder, commit = first.parent, first.parent.name
        for name, facts in read_manifest(first.read_bytes(), link).items():
            path = _part(repo, name, commit, facts["bytes"])
            if path.stat().st_size != facts["bytes"] or _sha256(path) != facts["sha256"]:
                raise DataError(
                    f"{link}: {name} is not what its manifest says; delete {path.resolve()} if a download was damaged, "
                    "or ask whoever pushed it"
                )
    return folder


def copy(link: str, out: Path) -> str:
    """Write a run of the hub to a folder of its own, where it may be calibrated and its index grown; return its full link.

    Raises:
        DataError: see `pull`; or `out` is there.

    """
    if out.exists():
        raise DataError(f"{out}: is there already; choose another --out")
    folder = pull(link)
    names = read_manifest((folder / MANIFEST).read_bytes(), link)
    with whole(out) as temporary:
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, temporary / name)
    return full_link(link, folder)


def full_link(link: str, folder: Path) -> str:
    """Return the link with the commit that a pulled folder is of, which will always give the same."""
    return f"{PREFIX}{_parts(link)[0]}@{folder.name}"


def _parts(name: str) -> tuple[str, str | None]:
    found = LINK.fullmatch(str(name))
    if found is None:
        raise ConfigError(f"{name}: names no run on the hub; expected {PREFIX}USER/NAME or {PREFIX}USER/NAME@REVISION")
    return found["repo"], found["revision"]


def _part(repo: str, name: str, revision: str | None, most: int) -> Path:
    """Return a file of a repository, downloaded where the cache lacks it and it is not larger than declared."""
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

    # Read again here, as the hub's library looks at the environment only once.
    cache = os.environ.get("HF_HUB_CACHE")
    where: dict[str, Any] = {
        "revision": revision, "cache_dir": cache, "endpoint": os.environ.get("HF_ENDPOINT"), "library_name": "bleep",
    }  # fmt: skip
    held = try_to_load_from_cache(repo, name, cache_dir=cache, revision=revision) if revision else None
    if not isinstance(held, str) and not constants.is_offline_mode():
        try:
            size = hf_hub_download(repo, name, dry_run=True, **where).file_size
        except (errors.LocalEntryNotFoundError, RuntimeError) as error:
            # Without a network, what the cache holds is taken. Versions before 2 ask again by a client that they closed.
            if isinstance(error, RuntimeError) and "client has been closed" not in str(error):
                raise
            return Path(hf_hub_download(repo, name, local_files_only=True, **where))
        if size > most:
            raise DataError(f"{repo}: {name} has {size:,} bytes there, more than the {most:,} it may have")
    return Path(hf_hub_download(repo, name, **where))


@contextmanager
def _sentence(what: str) -> Iterator[None]:
    """Say in one sentence what the hub or the network said."""
    try:
        from huggingface_hub import DryRunFileInfo, errors  # noqa: F401, since versions before 1.0 lack the first
    except ImportError:
        raise DataError(
            f"{what}: the hub needs huggingface_hub 1.0 or later: pip install -e '.[hub]' in bleep's clone"
        ) from None
    try:
        yield
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        code = _status(error)
        raise DataError(
            f"{what}: the hub has no such repository, or shows it to others alone ({code}); check the name, or log in by "
            "`hf auth login` or HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{what}: the repository has no such revision; name a commit, a branch or a tag of it") from None
    except errors.LocalEntryNotFoundError:
        raise DataError(f"{what}: is not in the cache, and the hub cannot be reached; try again with a network") from None
    except errors.EntryNotFoundError:
        raise DataError(
            f"{what}: holds no run of bleep (or a part of one is missing); expected one that `bleep push` made"
        ) from None
    except errors.HFValidationError as error:
        raise ConfigError(f"{what}: is no name the hub takes: {str(error).splitlines()[0]}") from None
    except errors.HfHubHTTPError as error:
        raise DataError(f"{what}: the hub refused ({_status(error)}): {str(error).splitlines()[0]}") from None
    except errors.OfflineModeIsEnabled:
        raise DataError(f"{what}: HF_HUB_OFFLINE is set, so nothing is sent or asked; unset it") from None
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise
        raise DataError(f"{what}: the hub cannot be reached ({error}); try again with a network") from None


def _status(error: Any) -> str:
    response = getattr(error, "response", None)
    return "no answer" if response is None else f"HTTP {response.status_code}"


def _sha256(path: Path) -> str:
    joined = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            joined.update(chunk)
    return joined.hexdigest()
