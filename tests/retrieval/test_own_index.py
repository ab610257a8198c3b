"""What an index of another package gives is looked at where it is asked."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep import registry
from bleep.config import IndexConfig
from bleep.errors import ConfigError
from bleep.records import Neighbors
from bleep.retrieval.index import build_index, load_index
from bleep.retrieval.index.where import Where

VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
Made = Callable[..., Any]


@pytest.fixture
def plain(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Make an index of the example package, some of its methods replaced."""
    monkeypatch.syspath_prepend(str(repository / "tests" / "plugin"))
    monkeypatch.delitem(sys.modules, "bleep_example", raising=False)
    from bleep_example.search import PlainIndex

    def made(**over: Any) -> Any:
        monkeypatch.setitem(registry._registered, ("indexes", "plain"), type("Other", (PlainIndex,), over))
        return build_index(VECTORS, IndexConfig.model_validate({"kind": "plain"}), 0)

    made.search = PlainIndex.search  # type: ignore[attr-defined]
    return made


FAULTS: dict[str, tuple[Callable[[Neighbors], Any], str]] = {
    "fewer neighbours": (lambda n: Neighbors(n.similarity[:, 1:], n.rows[:, 1:]), r"similarity \(6, 2\) .* expected \(6, 3\)"),
    "fewer queries": (lambda n: Neighbors(n.similarity[:1], n.rows[:1]), r"rows \(1, 3\); expected \(6, 3\)"),
    "beyond": (lambda n: Neighbors(n.similarity, n.rows + 100), r"row 1\d\d; expected rows from 0 to 29"),
    "before": (lambda n: Neighbors(n.similarity, n.rows - 100), r"row -\d+; expected rows from 0 to 29"),
    "twice": (lambda n: Neighbors(n.similarity, n.rows * 0), "one row twice"),
    "worst first": (lambda n: Neighbors(n.similarity[:, ::-1], n.rows[:, ::-1]), "not finite or not in order"),
    "no numbers": (lambda n: Neighbors(n.similarity * np.float32("nan"), n.rows), "not finite or not in order"),
    "tuple": (lambda n: (n.similarity, n.rows), r"search gave a tuple; expected bleep.records.Neighbors"),
    "nothing": (lambda n: None, "search gave a NoneType"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_neighbours_that_are_none_are_refused(fault: str, plain: Made) -> None:
    spoil, said = FAULTS[fault]
    whole = plain.search  # type: ignore[attr-defined]
    index = plain(search=lambda self, queries, k, where=None: spoil(whole(self, queries, k, where)))
    with pytest.raises(ConfigError, match=f"index.kind plain: .*{said}.*mend that package"):
        index.search(VECTORS[:6], 3)


def test_an_index_that_fails_or_is_none_is_named(plain: Made, tmp_path: Path) -> None:
    whole = plain.search  # type: ignore[attr-defined]
    only = Where("", np.arange(5, dtype=np.int64))
    with pytest.raises(ConfigError, match=r"search of .* failed \(TypeError: .*takes 3 positional arguments"):
        plain(search=lambda self, queries, k: whole(self, queries, k)).search(VECTORS[:6], 3)
    with pytest.raises(ConfigError, match="one of the rows that `where` lets answer"):
        plain(search=lambda self, queries, k, where=None: whole(self, queries, k)).search(VECTORS[:6], 3, only)
    with pytest.raises(ConfigError, match=r"save wrote no file"):
        plain(save=lambda self, path: None).save(tmp_path / "index.own")
    with pytest.raises(ConfigError, match="gave an index of 29 rows; expected one of 30 rows"):
        plain(build=classmethod(lambda cls, vectors, seed: cls(vectors[1:])))
    with pytest.raises(ConfigError, match="gave an index of 30 rows; expected one of 32 rows"):
        plain(add=lambda self, vectors, spots=None: self).add(VECTORS[:2])
    index = plain(load=classmethod(lambda cls, path: None))
    assert index.search(VECTORS[:6], 9, only).rows.shape == (6, 5)
    assert len(index.remove(np.arange(4, dtype=np.int64))) == 26
    index.save(tmp_path / "index.own")
    with pytest.raises(ConfigError, match="gave a NoneType; expected a VectorIndex"):
        load_index(tmp_path / "index.own", kind="plain")
