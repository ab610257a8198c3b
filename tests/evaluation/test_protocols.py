"""Protocols are frozen, refuse runs of other protocols, and make their own labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bleep
from bleep.cli import app
from bleep.cli import evaluate as command
from bleep.config import Config
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation import protocols as peers
from bleep.evaluation.protocols import OURS, PROTOCOLS, Protocol, genes_digest, named
from bleep.evaluation.report import as_text
from bleep.evaluation.statistics import listed, read_list
from bleep.files import read_json
from bleep.records import Scorecard
from bleep.retrieval.embed import tile_features
from bleep.runs import Run
from bleep.workflows.scoring import ProbePredictor, Scorer

FROZEN = {
    "her2st-c": "b26736b41143",
    "her2st-b": "11647980db05",
    "mob-mouse": "1a47bc45bcfa",
    "her2st-b-to-c": "97d531d68bb8",
    "als-mouse": "c008710cfda4",
    "muscle-blocks": "d26525a84cb5",
    "hist2st-785": "4e593be889d2",
    "triplex-250": "20cb4fbcd0e1",
    "hest": "99208333415b",
    "bleep-liver": "2bcef95114d1",
    "dacon": "06c4a2b81aca",
}
"""A number carries its protocol's hash: whoever changes a protocol gives it another name, or says why here."""


def made_up(**changes: Any) -> Protocol:
    return replace(named("triplex-250"), settings={}, **changes)


def test_the_protocols_are_what_they_were() -> None:
    assert {name: protocol.digest() for name, protocol in PROTOCOLS.items()} == FROZEN


def test_a_protocols_hash_depends_on_every_part() -> None:
    assert made_up(smoothing="other").digest() != made_up().digest()
    assert made_up(inflates="nothing").digest() != made_up().digest()


def test_the_command_line_knows_every_protocol_and_each_says_what_inflates_it() -> None:
    assert set(command.PROTOCOLS) == set(PROTOCOLS)
    assert all(protocol.inflates and protocol.metric and protocol.settings for protocol in PROTOCOLS.values())
    with pytest.raises(ConfigError, match="no protocol 'x'; found her2st-c"):
        named("x")


@pytest.mark.parametrize("protocol", OURS, ids=lambda protocol: protocol.name)
def test_our_recipes_keep_to_their_protocols(protocol: Protocol, repository: Path) -> None:
    config = Config.load(repository / f"configs/{protocol.name}.yaml")
    assert protocol.differences(config) == []
    assert config.data.protocol == protocol.name
    other = Config.load(repository / f"configs/{protocol.name}.yaml", {"panel": {"target": 1e6}})
    assert [name for name, _, _ in protocol.differences(other)] == ["panel.target"]


@pytest.mark.parametrize("name", ["hist2st-785", "triplex-250", "hest"])
def test_the_recipes_of_others_keep_to_their_protocols(name: str, repository: Path) -> None:
    config = Config.load(repository / "configs/her2st-c.yaml", repository / f"configs/protocols/{name}.yaml")
    assert named(name).differences(config) == []
    assert config.data.protocol == name


@pytest.mark.data
def test_the_list_of_785_genes_is_the_protocols(shared: Path) -> None:
    genes = (shared / "data/her2st/genes_785.txt").read_text().split()
    assert genes_digest(genes[::-1]) == named("hist2st-785").gene_list


def test_a_run_of_another_protocol_is_refused_and_both_sides_named(trained: dict[str, Path]) -> None:
    with pytest.raises(
        MismatchError, match=r"has panel.size = 12, but protocol triplex-250 has 250|has panel.denominator = all"
    ):
        bleep.evaluate([trained["regression"]], protocol="triplex-250")


def test_other_genes_and_other_sections_are_refused(trained: dict[str, Path]) -> None:
    run = Run.load(trained["regression"])
    divided = bleep.load_split(run.config)
    counts = {section.name: len(section) for section in (*divided.train, *divided.test)}
    made_up(spots=counts, gene_list=genes_digest(run.panel.genes)).check(run.config, run.panel, divided, "x")
    with pytest.raises(MismatchError, match="12 genes that are not the list"):
        made_up(gene_list=genes_digest(["A"])).check(run.config, run.panel, divided, "x")
    with pytest.raises(MismatchError, match="is of sections toy1"):
        made_up(spots=counts | {"toy1": 7}).check(run.config, run.panel, divided, "x")


def test_the_command_line_refuses_a_protocol_that_is_not_the_runs(
    trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["evaluate", "--run", str(trained["regression"]), "--protocol", "her2st-c"]) == 2
    assert "but protocol her2st-c has" in capsys.readouterr().err


def scored(run: Run, marking: Scorer) -> list[Scorecard]:
    divided = bleep.load_split(run.config)
    train = run.tiles(divided.train)
    predictors = marking.predictors(run, {"mean": bleep.MeanPredictor(run)}, train)
    return marking.score(predictors, run.tiles(divided.test), run, divided.train)


def test_smoothed_labels_are_means_over_neighbours_on_the_test_side(trained: dict[str, Path]) -> None:
    run = Run.load(trained["regression"])
    (section, *_) = bleep.load_split(run.config).test
    smooth, plain = Scorer(made_up()).labels(run, section), Scorer().labels(run, section)
    near = np.linalg.norm(section.xy - section.xy[5], axis=1) < 1.5 * section.pitch()
    np.testing.assert_allclose(smooth[5], plain[near].mean(axis=0), rtol=1e-5)
    assert smooth.var(axis=0).sum() < plain.var(axis=0).sum()


def test_smoothing_needs_places(trained: dict[str, Path], files: Path) -> None:
    run = Run.load(trained["regression"])
    (section, *_) = bleep.open_tiles(files / "folder" / "train.csv", run, mpp=1.0).sections
    with pytest.raises(DataError, match="smooths neighbours, which tiles lack"):
        Scorer(made_up()).labels(run, section)


def test_the_probe_is_scikit_learns_and_is_scored_on_all_test_spots_together(trained: dict[str, Path]) -> None:
    run = Run.load(trained["regression"])
    divided = bleep.load_split(run.config)
    probe = replace(named("hest"), settings={})
    (card,) = scored(run, Scorer(probe))
    assert card.section == "toy3+toy4"

    def labels(sections: Any) -> np.ndarray:
        return np.concatenate([np.log1p(s.counts[:, list(run.panel.genes)].X.toarray()) for s in sections])

    train, test = run.tiles(divided.train), run.tiles(divided.test)
    many = min(256, len(train) - 1, tile_features(run, train).shape[1])
    reduced = make_pipeline(StandardScaler(), PCA(many)).fit(tile_features(run, train).astype(float))
    ridge = Ridge(alpha=100 / (many * 12), fit_intercept=False)
    ridge.fit(reduced.transform(tile_features(run, train)), labels(divided.train))
    expected = ridge.predict(reduced.transform(tile_features(run, test)))
    np.testing.assert_allclose(ProbePredictor.fit(run, train).predict(test).expression, expected, atol=1e-2)
    r = [pearsonr(a, b).statistic for a, b in zip(expected.T, labels(divided.test).T, strict=True)]
    assert card.summary["pcc"] == pytest.approx(np.mean(r), abs=1e-3)


def test_genes_chosen_on_the_test_section_say_so_in_the_scores_name(toys: tuple[Any, ...], recipe: Any, tmp_path: Path) -> None:
    run = bleep.fit(Config.load(recipe(tmp_path / "run", {"panel": {"choice": "all"}, "loss": {"task": "regression"}})))
    summary = scored(run, Scorer(made_up(labels="panel", chosen_on_test=True)))[0].summary
    assert {"pcc_heg50", "pcc_heg50_of_test", "pcc_hvg50_of_test"} <= set(summary)
    assert not any(name.endswith("of_test") for name in scored(run, Scorer())[0].summary)


def test_all_scores_are_told_with_their_meaning_and_the_table_stays_small(
    run_copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, genes = run_copy("contrastive"), tmp_path / "mine.txt"
    panel = Run.load(folder).panel.genes
    genes.write_text(f"{panel[3]}\n\n{panel[1]}\nNOT-THERE\n")
    assert app.main(["evaluate", "--run", str(folder), "--all-scores", "--genes-file", str(genes), "--out", str(tmp_path)]) == 0
    said, plain = capsys.readouterr(), read_json(tmp_path / "evaluation.json", "it")
    assert "2 of its 3 genes" in said.err
    rows = plain["predictors"]["retrieval"]
    for name in ("spearman", "mae", "r2", "moran_error", "ssim", "recall_10", "median_rank", "pcc_list_mine"):
        assert rows[name] is not None
        assert plain["scores"][name]
    assert rows["pcc_low"] <= rows["pcc"] <= rows["pcc_high"]
    assert plain["predictors"]["mean"]["moran_predicted"] == 0
    assert "recall_10" not in plain["sections"][-1]
    assert [row["patient"] for row in plain["patients"]] == ["donor2"] * 5
    assert "spearman" not in said.out.split("retrieval - ridge")[0]
    assert "retrieval - ridge: " in said.out


def test_a_list_without_a_gene_of_the_panel_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("NOT\n")
    with pytest.raises(DataError, match="none of its 1 genes"):
        bleep.evaluate([trained["regression"]], genes_file=tmp_path / "x.txt")
    with pytest.raises(DataError, match="cannot be read"):
        bleep.evaluate([trained["regression"]], genes_file=tmp_path / "y.txt")


def test_a_list_with_a_byte_order_mark_is_read_and_a_gene_under_both_names_counts_once(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    panel = Run.load(trained["regression"]).panel
    (tmp_path / "x.txt").write_text("\n".join(panel.genes[:2]), encoding="utf-8-sig")
    assert [columns.tolist() for columns in read_list(tmp_path / "x.txt", panel).values()] == [[0, 1]]
    both = replace(panel, others=("ENSG1", *panel.genes[1:]))
    assert listed(both, [panel.genes[0], "ENSG1", panel.genes[2]]).tolist() == [0, 2]


def test_published_numbers_stand_beside_ours_only_for_the_same_sections() -> None:
    found = peers.beside("hist2st-785", {"C2", "C3"}, whole=False)
    assert found is not None
    assert set(found["method"]) == {"Reg2ST"}
    assert "C2 0.159, C3 0.236 (mean 0.198); trained on 31 sections" in peers.lines(found)[0]
    whole = peers.beside("hist2st-785", set(), whole=True)
    assert whole is not None
    assert "BLEEP" in set(whole["method"])
    for name in ("her2st-c", "hest", "triplex-250", "bleep-liver", "dacon"):
        assert peers.beside(name, {"B4", "C1"}, whole=False) is None
    assert peers.lines(None) == []


def test_every_published_number_has_a_source_and_a_protocol() -> None:
    table = peers.published()
    assert table.notna().all(axis=None)
    assert table["value"].between(0, 1).all()
    assert not table.duplicated(["protocol", "method", "part", "score"]).any()


def test_a_run_that_names_a_protocol_and_keeps_to_it_carries_its_hash(
    trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch, run_copy: Callable[..., Path]
) -> None:
    folder = run_copy("regression")
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("protocol: ''", "protocol: mine"))
    mine = made_up(name="mine", labels="panel", test=("toy3", "toy4"), inflates="it is a toy")
    monkeypatch.setattr("bleep.workflows.scoring.PROTOCOLS", {"mine": mine})
    text = as_text(bleep.evaluate([folder]))
    assert f"protocol mine [{mine.digest()}]" in text
    assert "inflated by: it is a toy" in text
    assert "incomplete" not in text
    for departed in ({"settings": {"panel.size": 99}}, {"gene_list": "0" * 64}, {"spots": {"toy3": 57}}):
        monkeypatch.setattr("bleep.workflows.scoring.PROTOCOLS", {"mine": replace(mine, **departed)})
        assert "hash" not in as_text(bleep.evaluate([folder]))


def test_a_panel_with_genes_of_ones_own_is_not_the_protocols(repository: Path) -> None:
    own = Config.load(repository / "configs/her2st-c.yaml", {"panel": {"include": ["ERBB2"]}})
    assert PROTOCOLS["her2st-c"].differences(own) == [("panel.include", [], ["ERBB2"])]
