"""What a notebook shows of the larger objects is short, and says what they are."""

from pathlib import Path
from typing import Any

from bleep.config import DataConfig
from bleep.data.splits import split
from bleep.runs import Run


def test_runs_splits_sections_and_panels_are_shown_in_a_line(trained: dict[str, Path], toys: tuple[Any, ...]) -> None:
    run = Run.load(trained["contrastive"])
    assert repr(run).startswith(f"Run({str(trained['contrastive'])!r}: contrastive, trunk test_resnet")
    assert "12 genes, " in repr(run)
    assert "spots of toy1, toy2, epoch " in repr(run)
    divided = split(toys, DataConfig(split="patient", test=("donor2",)))
    assert repr(divided) == (
        f"Split(by patient: train toy1 ({len(toys[0])}), toy2 ({len(toys[1])}); "
        f"test toy3 ({len(toys[2])}), toy4 ({len(toys[3])}); leak: none)"
    )
    assert repr(toys[0]).startswith("Section('toy1': patient donor1, toy, ")
    for shown in (repr(run), repr(divided), repr(toys[0]), repr(run.panel)):
        assert len(shown) < 300
        assert "\n" not in shown
