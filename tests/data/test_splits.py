"""Held-out tissue stays held out."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from bleep.config import Config, DataConfig
from bleep.data.section import Section
from bleep.data.splits import Split, blocks_of, split
from bleep.errors import ConfigError, DataError
from bleep.workflows.fit import config_for_sharing

VALS = ("none", "group", "block", "random")


def config(**over: object) -> DataConfig:
    return DataConfig.model_validate({"source": "toy", **over})


def spots(sections: Sequence[Section]) -> set[str]:
    return {name for section in sections for name in section.ids}


def patients(sections: Sequence[Section]) -> set[str]:
    return {section.patient for section in sections}


def names(sections: Sequence[Section]) -> set[str]:
    return {section.name for section in sections}


@pytest.fixture(scope="module")
def six(toys: tuple[Section, ...]) -> tuple[Section, ...]:
    from bleep.data.toy import toy_section

    return (*toys, *(toy_section(f"toy{i}", "donor3", 60 + i, side=256, pitch=32) for i in (5, 6)))


@pytest.fixture(scope="module")
def fine() -> tuple[Section, ...]:
    """Sections of 16 x 16 spots, so that blocks have an inside."""
    from bleep.data.toy import toy_section

    return tuple(toy_section(f"fine{i}", "donor1", 70 + i, side=512, pitch=32) for i in range(2))


@pytest.mark.parametrize("val", VALS)
@pytest.mark.parametrize("fold", range(3))
def test_no_patient_stands_on_both_sides_of_a_split_by_patient(val: str, fold: int, six: tuple[Section, ...]) -> None:
    parts = split(six, config(split="patient", folds=3, fold=fold, val=val))
    assert not patients(parts.test) & (patients(parts.train) | patients(parts.val))
    assert parts.leak.status == "none"
    if val == "group":
        assert not patients(parts.train) & patients(parts.val)
        assert patients(parts.train) | patients(parts.val) | patients(parts.test) == patients(six)


@pytest.mark.parametrize("val", VALS)
@pytest.mark.parametrize("fold", range(3))
def test_no_section_stands_on_both_sides_of_a_split_by_section(val: str, fold: int, six: tuple[Section, ...]) -> None:
    parts = split(six, config(split="section", folds=3, fold=fold, val=val))
    assert not names(parts.test) & (names(parts.train) | names(parts.val))
    assert (not names(parts.train) & names(parts.val)) == (val not in ("block", "random"))
    assert parts.leak.status == "same patient"


@pytest.mark.parametrize("val", VALS)
@pytest.mark.parametrize("by", ["patient", "section", "block", "random"])
def test_no_spot_stands_on_two_sides(by: str, val: str, six: tuple[Section, ...], fine: tuple[Section, ...]) -> None:
    if (by, val) == ("block", "random"):
        with pytest.raises(ConfigError, match=r"data\.val is random, but data\.split is block"):
            split(fine, config(split=by, folds=3, val=val))
        return
    parts = split(fine if by == "block" else six, config(split=by, folds=3, fold=1, val=val))
    train, chosen, test = (spots(side) for side in (parts.train, parts.val, parts.test))
    assert train
    assert test
    assert bool(chosen) == (val != "none")
    assert not train & test
    assert not train & chosen
    assert not chosen & test


@pytest.mark.parametrize("by", ["patient", "section", "block", "random"])
def test_every_spot_is_tested_in_just_one_fold(by: str, six: tuple[Section, ...]) -> None:
    tested = [name for fold in range(3) for name in spots(split(six, config(split=by, folds=3, fold=fold)).test)]
    assert len(tested) == len(set(tested))
    assert set(tested) == spots(six)


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("val", ["none", "block"])
def test_no_training_spot_lies_within_the_margin_of_a_held_out_block(
    margin: float, val: str, fine: tuple[Section, ...]
) -> None:
    parts = split(fine, config(split="block", folds=4, margin=margin, val=val))
    held = {side: {section.name: section.xy for section in getattr(parts, side)} for side in ("test", "val")}
    checked = 0
    pairs = [(section, side) for section in parts.train for side in ("test", "val")]
    for section, side in [*pairs, *((section, "test") for section in parts.val)]:
        if section.name in held[side]:
            assert cKDTree(held[side][section.name]).query(section.xy)[0].min() > margin * 32
            checked += 1
    assert checked >= 2


def test_a_wider_margin_drops_more_training_spots_and_no_test_spot(toys: tuple[Section, ...]) -> None:
    none, wide = (split(toys, config(split="block", margin=margin)) for margin in (0.0, 1.0))
    assert spots(none.train) | spots(none.test) == spots(toys)
    assert spots(wide.train) < spots(none.train)
    assert spots(wide.test) == spots(none.test)


def test_validation_blocks_keep_their_margin_too(toys: tuple[Section, ...]) -> None:
    parts = split(toys, config(split="patient", test=["donor2"], val="block"))
    chosen = {section.name: section.xy for section in parts.val}
    assert chosen
    for section in parts.train:
        if section.name in chosen:
            assert cKDTree(chosen[section.name]).query(section.xy)[0].min() > 32


def test_spots_at_random_are_marked_as_leaking(toys: tuple[Section, ...]) -> None:
    assert split(toys, config(split="random")).leak.status == "random spots"
    assert split(toys, config(split="block")).leak.status == "neighbouring tissue"


def test_a_random_split_follows_the_seed(toys: tuple[Section, ...]) -> None:
    first, again, other = (spots(split(toys, config(split="random"), seed).test) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_same_tissue_under_two_names_is_refused(toys: tuple[Section, ...]) -> None:
    twin = replace(toys[0], name="other", patient="somebody")
    with pytest.raises(DataError, match="other holds the same tissue as section toy1"):
        split((*toys, twin), config(split="section", test=["other"]))


def test_the_same_tissue_under_two_names_is_refused_in_validation_too(toys: tuple[Section, ...]) -> None:
    twin = replace(toys[1], name="toy2again", patient="somebody")
    with pytest.raises(DataError, match="same tissue"):
        Split((toys[0],), (toys[1],), (twin,), "section", split(toys, config(split="section")).leak)
    with pytest.raises(DataError, match="validation section toy2again holds the same tissue as section toy2, which is trained"):
        Split((toys[1],), (twin,), (toys[0],), "section", split(toys, config(split="section")).leak)


def test_a_patient_given_in_the_settings_of_a_section_is_held_together(toys: tuple[Section, ...]) -> None:
    moved = tuple(replace(section, patient="one") if section.name in ("toy1", "toy3") else section for section in toys)
    parts = split(moved, config(split="patient", test=["one"]))
    assert names(parts.test) == {"toy1", "toy3"}


def test_an_unknown_group_is_refused_by_name(toys: tuple[Section, ...]) -> None:
    with pytest.raises(ConfigError, match="'donor9'; found donor1, donor2"):
        split(toys, config(split="patient", test=["donor9"]))


def test_more_folds_than_groups_are_refused(toys: tuple[Section, ...]) -> None:
    with pytest.raises(ConfigError, match="only 2"):
        split(toys, config(split="patient", folds=3))


def test_nothing_is_held_out_only_when_asked_for(toys: tuple[Section, ...]) -> None:
    parts = split(toys, config(split="none"))
    assert spots(parts.train) == spots(toys)
    assert (parts.test, parts.leak.status) == ((), "nothing held out")


def test_a_split_that_leaves_nothing_to_train_on_is_refused(toys: tuple[Section, ...]) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        split(toys, config(split="patient", test=["donor1", "donor2"]))


def test_only_one_group_to_train_on_leaves_none_for_validation(toys: tuple[Section, ...]) -> None:
    with pytest.raises(ConfigError, match=r"only one patient"):
        split(toys, config(split="patient", test=["donor2"], val="group"))


def test_validation_by_group_needs_two_groups_when_nothing_is_held_out(toys: tuple[Section, ...]) -> None:
    with pytest.raises(ConfigError, match=r"only one section"):
        split(toys[:1], config(split="none", val="group"))


def test_ready_cut_tiles_cannot_be_split_by_block(files, toys) -> None:
    from bleep.data.readers import read_sections

    sections = read_sections(DataConfig(root=files / "folder" / "train.csv"))
    with pytest.raises(DataError, match="no known places"):
        split(sections, config(split="block"))
    with pytest.raises(ConfigError, match=r"data.val is block, but .* without known places; set data.val to random"):
        split(sections, config(split="none", val="block"))
    with pytest.raises(ConfigError, match=r"only one section .*; set data.val to random, or to none where"):
        split(sections[:1], config(split="none", val="group"))
    assert split(sections[:1], config(split="none", val="random")).val


@pytest.mark.parametrize("folds", range(2, 8))
@pytest.mark.parametrize("blocks", [3, 4, 5])
def test_every_part_gets_blocks(blocks: int, folds: int, fine: tuple[Section, ...]) -> None:
    assert set(blocks_of(fine[0], blocks, folds)) == set(range(folds))


def test_a_split_that_leaves_nothing_to_validate_on_is_refused(fine: tuple[Section, ...]) -> None:
    rest = fine[0].subset(np.flatnonzero(blocks_of(fine[0], 4, 3) != 1))
    with pytest.raises(
        DataError, match=r"leaves nothing to validate on \(data\.val block\); lower .*, or set data\.val to none"
    ):
        split([rest], config(split="block", folds=3, val="block", margin=0))
    assert not split([rest], config(split="block", folds=3, margin=0)).val


def test_blocks_are_square_and_spread(toys: tuple[Section, ...]) -> None:
    parts = split(toys[:1], config(split="block", folds=4, margin=0))
    assert 0.1 < len(spots(parts.test)) / len(toys[0]) < 0.4
    assert np.ptp(parts.test[0].xy, axis=0).min() > 100


@pytest.mark.parametrize(
    ("over", "shares"),
    [
        ({"split": "random", "folds": 5}, (0.8, 0.0, 0.2)),
        ({"split": "random", "folds": 10, "val": "random", "val_share": 0.1}, (0.8, 0.1, 0.1)),
        ({"split": "none", "val": "random", "val_share": 0.2}, (0.8, 0.2, 0.0)),
    ],
)
def test_splits_80_20_and_80_10_10_at_random_can_be_said(
    over: dict[str, object], shares: tuple[float, ...], fine: tuple[Section, ...]
) -> None:
    parts = split(fine, config(**over))
    sides = [spots(side) for side in (parts.train, parts.val, parts.test)]
    assert set().union(*sides) == spots(fine)
    assert sum(map(len, sides)) == len(spots(fine))
    assert [len(side) / len(spots(fine)) for side in sides] == pytest.approx(shares, abs=0.01)
    assert parts.leak.status == ("nothing held out" if over["split"] == "none" else "random spots")


def test_validation_spots_at_random_are_drawn_anew_with_the_seed_and_said_to_leak(
    toys: tuple[Section, ...], caplog: pytest.LogCaptureFixture
) -> None:
    first, again, other = (spots(split(toys, config(split="none", val="random"), seed).val) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert "data.val is random: validation spots lie between training spots" in caplog.text


def test_a_patient_of_a_section_that_is_not_there_is_refused(six: tuple[Section, ...]) -> None:
    found = sorted(names(six))
    with pytest.raises(ConfigError, match=r"data.patients names section 'A11', which is not there"):
        split(six, DataConfig(source="toy", patients={"A11": "A"}, split="section"))
    with pytest.raises(ConfigError, match=f"not read, and not section '{found[1]}'"):
        split(six, DataConfig(source="toy", patients={"A11": "A", found[0]: "A"}, sections=tuple(found), split="section"))
    every = {"elsewhere": "Z", **dict.fromkeys(found, "A")}
    assert split(six, DataConfig(source="toy", patients=every, sections=tuple(found), split="section")).train


@pytest.mark.parametrize(("blocks", "folds", "fold"), [(2, 4, 2), (4, 10, 4), (3, 9, 7), (2, 9, 8)])
def test_blocks_that_leave_a_fold_without_any_are_refused_and_the_way_out_works(
    toys: tuple[Section, ...], blocks: int, folds: int, fold: int
) -> None:
    asked = {"split": "block", "margin": 0.0, "blocks": blocks, "folds": folds}
    with pytest.raises(ConfigError, match=f"no block of a section is left for fold {fold}; set ") as caught:
        split(toys, config(**asked, fold=fold))
    fewer, more = map(int, re.findall(r" to (\d+)", str(caught.value)))
    for out in ({"folds": fewer}, {"blocks": more}):
        for each in range(out.get("folds", folds)):
            split(toys, config(**asked | out, fold=each))


def test_a_section_of_one_spot_is_split_by_block_beside_others(toys: tuple[Section, ...]) -> None:
    """It has places, but no distance between them: its spot is of the first part."""
    sections = (toys[0].subset(np.array([3])), *toys[1:3])
    for fold, side in ((0, "test"), (1, "train")):
        divided = split(sections, config(split="block", fold=fold))
        assert [len(s) for s in getattr(divided, side) if s.name == toys[0].name] == [1]
    assert [len(s) for s in split(sections, config(split="none", val="block")).val if s.name == toys[0].name] == [1]


def test_spots_at_one_place_do_not_say_how_far_spots_stand_apart(toys: tuple[Section, ...]) -> None:
    xy = toys[0].xy.copy()
    xy[1::2] = xy[:-1:2]
    assert replace(toys[0], xy=xy).pitch() >= toys[0].pitch()
    assert np.isinf(replace(toys[0], xy=np.full_like(xy, 9)).pitch())
    config_of = Config.load({"image": {"sharing": "auto", "layer": 1, "trunk": "test_vit"}, "tiles": {"microns": [320.0]}})
    lone = toys[0].subset(np.array([3]))
    assert config_for_sharing(config_of, (lone, toys[1])).image.sharing == "tokens"
