"""A gene is found under either of its names, and never guessed at."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bleep.config import DataConfig, PanelConfig
from bleep.data.gene_names import aligned, locate, other_names, without_clashes
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.errors import DataError, MismatchError

IDS = [f"ENSG{number:011d}" for number in range(60)]

Renamed = Callable[..., Section]


def table(names: list[str], **columns: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(names, dtype=str))


def find(names: list[str], others: list[str], genes: pd.DataFrame) -> list[int]:
    return [max(int(column), -1) for column in locate(pd.Index(names, dtype=str), others, genes)]


def renamed(section: Section, names: list[str], **columns: list[str]) -> Section:
    counts = section.counts.copy()
    counts.var = table(names, **columns)
    return replace(section, counts=counts)


def config(**over: object) -> PanelConfig:
    return PanelConfig.model_validate({"size": 12, **over})


@pytest.fixture
def symbols(toys: tuple[Section, ...]) -> list[str]:
    return list(toys[0].genes)


def test_exact_names_win_over_every_other() -> None:
    genes = table(["A", "B"], symbol=["B", "A"], gene_id=["B", "A"])
    assert find(["A", "B"], ["B", "A"], genes) == [0, 1]


@pytest.mark.parametrize(
    ("names", "others", "genes"),
    [
        (["A", "B"], ["ENSG1", "ENSG2"], table(["ENSG2", "x", "ENSG1"])),
        (["ENSG1", "ENSG2"], ["A", "B"], table(["B", "x", "A"])),
        (["ENSG1", "ENSG2"], ["", ""], table(["B", "x", "A"], gene_id=["ENSG2", "ENSG3", "ENSG1"])),
        (["A", "B"], ["", ""], table(["ENSG2", "ENSG3", "ENSG1"], symbol=["B", "x", "A"])),
        (["A", "B"], ["ENSG1", "ENSG2"], table(["q1", "q2", "q3"], gene_id=["ENSG2", "ENSG3", "ENSG1"])),
        (["ENSG1", "ENSG2"], ["A", "B"], table(["q1", "q2", "q3"], symbol=["B", "x", "A"])),
    ],
)
def test_a_gene_is_found_where_either_side_knows_both_names(names: list[str], others: list[str], genes: pd.DataFrame) -> None:
    assert find(names, others, genes) == [2, 0]


def test_versions_of_ensembl_ids_count_only_where_they_help() -> None:
    assert find(["ENSG1"], [""], table(["ENSG1.4"])) == [0]
    assert find(["ENSMUSG1.2"], [""], table(["x", "ENSMUSG1.14"])) == [1]
    assert find(["A"], ["ENSG1"], table(["x"], gene_id=["ENSG1.7"])) == [0]
    assert find(["ENSG1.4"], [""], table(["ENSG1.5", "ENSG1.4"])) == [1]
    assert find(["ENSG1"], [""], table(["ENSG1.4", "ENSG1.5"])) == [-1], "two versions of one gene: which is meant?"
    assert find(["AL627309.1"], [""], table(["AL627309"])) == [-1], "the .1 of a symbol is part of it"


def test_an_ambiguous_gene_is_missing() -> None:
    assert find(["ENSG1"], ["A"], table(["x", "y"], symbol=["A", "A"])) == [-1], "two columns for one gene"
    assert find(["ENSG1", "ENSG2"], ["A", "A"], table(["A"])) == [-1, -1], "one column for two genes"
    assert find(["A", "B"], ["C", ""], table(["B", "C"], symbol=["A", "C"])) == [1, 0]
    assert find(["A", "B"], ["B", ""], table(["B"])) == [-1, 0], "the column is another gene's by name"
    assert find(["A"], ["ENSG1"], table(["x", "y"], gene_id=["ENSG1", "A"])) == [-1], "its names point to two columns"


def test_an_id_is_believed_before_a_symbol_that_stands_twice() -> None:
    visium = table(["TBCE", "TBCE-1"], symbol=["TBCE", "TBCE"], gene_id=["ENSG7", "ENSG8"])
    assert other_names(visium) == ("ENSG7", "ENSG8")
    assert find(["ENSG8", "ENSG7"], ["TBCE", ""], visium) == [1, 0]
    assert find(["TBCE-1", "TBCE"], ["ENSG8", "ENSG7"], table(["ENSG8", "ENSG7"], symbol=["TBCE", "TBCE"])) == [0, 1]


def test_unknown_names_match_nothing() -> None:
    assert find(["A", "B"], ["", ""], table(["x", "y"], symbol=["", None], gene_id=[None, ""])) == [-1, -1]
    assert find(["A"], [""], table([])) == [-1]


def test_other_names_leave_out_what_tells_nothing() -> None:
    assert other_names(table(["A", "B"])) == ("", "")
    assert other_names(table(["A", "B"], symbol=["A", "B"], gene_id=["ENSG1", None])) == ("ENSG1", "")
    assert other_names(table(["ENSG1.2", "ENSG2.1"], gene_id=["ENSG1", "ENSG2"], symbol=["A", "B"])) == ("A", "B")
    assert other_names(table(["ENSG1", "ENSG2", "ENSG3"], symbol=["A", "A", "C"])) == ("", "", "C")
    assert without_clashes(pd.Index(["A", "B", "C", "D"]), ("B", "x", "x", "y")) == ("", "", "", "y")


def test_a_section_in_the_other_vocabulary_has_the_same_values(toys: tuple[Section, ...], symbols: list[str]) -> None:
    """Denominators are over all genes, so the whole section must be counted however its genes are called."""
    known = tuple(renamed(section, symbols, gene_id=IDS) for section in toys[:2])
    panel = GenePanel.fit(known, config())
    expected = panel.values(toys[2])
    by_id = renamed(toys[2], IDS)
    np.testing.assert_array_equal(panel.values(by_id), expected)
    shuffled = replace(by_id, counts=by_id.counts[:, ::-1].copy())
    np.testing.assert_array_equal(panel.values(shuffled), expected)
    versions = renamed(toys[2], [f"{name}.{len(name)}" for name in IDS])
    np.testing.assert_array_equal(panel.values(versions), expected)
    ignorant = GenePanel.fit(toys[:2], config())
    both = renamed(toys[2], IDS, symbol=symbols)
    np.testing.assert_array_equal(ignorant.values(both), expected)


def test_a_section_whose_names_nobody_can_translate_is_refused(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], config())
    with pytest.raises(MismatchError, match=rf"toy3: lacks 12 of the panel's 12 genes, first {', '.join(panel.genes[:5])};"):
        panel.check(renamed(toys[2], IDS))


def test_one_gene_without_a_partner_is_named(toys: tuple[Section, ...], symbols: list[str]) -> None:
    panel = GenePanel.fit([renamed(section, symbols, gene_id=IDS) for section in toys[:2]], config())
    lost = panel.others[3]
    names = ["ENSG99999999999" if name == lost else name for name in IDS]
    with pytest.raises(MismatchError, match=f"lacks 1 of the panel's 12 genes, first {panel.genes[3]};"):
        panel.values(renamed(toys[2], names))


def test_a_match_by_another_name_is_said_once(
    toys: tuple[Section, ...], symbols: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    panel = GenePanel.fit([renamed(section, symbols, gene_id=IDS) for section in toys[:2]], config())
    query = replace(renamed(toys[2], IDS), name="said-once")
    with caplog.at_level(logging.INFO, "bleep"):
        panel.values(toys[2])
        assert not caplog.messages
        panel.values(query)
        panel.values(query)
    (said,) = caplog.messages
    assert "section said-once: 12 of 12 genes go by another name there" in said
    assert f"{panel.genes[0]} by {panel.others[0]}" in said


def test_other_names_survive_json_and_old_panels_load(toys: tuple[Section, ...], symbols: list[str]) -> None:
    panel = GenePanel.fit([renamed(section, symbols, gene_id=IDS) for section in toys[:2]], config())
    again = GenePanel.from_dict(panel.to_dict())
    assert again.others == panel.others == tuple(IDS[symbols.index(gene)] for gene in panel.genes)
    assert again.digest() == panel.digest()
    old = GenePanel.fit(toys[:2], config())
    plain = old.to_dict()
    del plain["range"]
    assert set(plain) == {
        "genes", "species", "normalise", "target", "denominator", "scale", "low", "high", "shift", "factor", "mean",
        "variance", "sections",
    }  # fmt: skip
    assert GenePanel.from_dict(plain).others == ("",) * 12
    with pytest.raises(DataError, match="garbles 'others'"):
        GenePanel.from_dict({**panel.to_dict(), "others": ["x"]})


def test_training_sections_may_use_different_vocabularies(toys: tuple[Section, ...], symbols: list[str]) -> None:
    first, second = renamed(toys[0], symbols), renamed(toys[1], IDS, symbol=symbols)
    panel, alike = GenePanel.fit((first, second), config()), GenePanel.fit(toys[:2], config())
    assert panel.genes == alike.genes
    np.testing.assert_array_equal(panel.mean, alike.mean)
    np.testing.assert_array_equal(panel.apply(second), alike.apply(toys[1]))
    assert panel.others == tuple(IDS[symbols.index(gene)] for gene in panel.genes)
    turned = GenePanel.fit((second, first), config(choice="all"))
    assert turned.genes == tuple(IDS)
    assert turned.others == tuple(symbols)


def test_what_one_section_cannot_match_is_not_shared(toys: tuple[Section, ...], symbols: list[str]) -> None:
    doubtful = [*symbols[:58], symbols[57], symbols[57]]
    names, others, columns = aligned((toys[0], renamed(toys[1], IDS, symbol=doubtful)))
    assert list(names) == symbols[:57]
    assert others == tuple(IDS[:57])
    assert [list(found) for found in columns] == [list(range(57))] * 2
    with pytest.raises(DataError, match="share no gene"):
        aligned((toys[0], renamed(toys[1], IDS)))


def test_exact_names_cost_no_search_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bleep.data.gene_names._hits", None)
    names = [f"G{number}" for number in range(12_000)]
    assert find(names[5::4], [""] * 2999, table(names, symbol=names))[:2] == [5, 9]


@pytest.mark.data
def test_real_files_of_two_vocabularies_share_the_genes_that_their_ids_say(shared: Path) -> None:
    """The olfactory bulb has versioned ids and symbols, the muscle symbols and plain ids of another release."""
    bulb, muscle = (
        read_sections(DataConfig(source=source, root=shared / "data" / folder, species="mouse"))[0]
        for source, folder in (("st2k", "mob_st2k"), ("visium", "visium_mouse_muscle"))
    )
    names, _, (here, there) = aligned((bulb, muscle))
    assert len(names) >= 990
    plain = np.array([name.split(".")[0] for name in names])
    by_id = plain == muscle.counts.var["gene_id"].to_numpy()[there]
    by_symbol = bulb.counts.var["symbol"].to_numpy()[here] == muscle.counts.var["symbol"].to_numpy()[there]
    assert by_id.mean() > 0.99
    assert (by_id | by_symbol).all()
    assert (by_id & ~by_symbol).sum() > 10, "symbols that were renamed between the releases"
