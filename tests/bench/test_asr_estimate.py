"""How long `make bench-asr` is said to take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.asr_estimate import minutes
from bench.asr_plan import PARTS, AsrPlan
from bench.speech import Clip

CLIPS = [Clip(Path(f"{at}.flac"), 6.0 if at < 42 else 16.0, "") for at in range(50)]


def plan(monkeypatch: pytest.MonkeyPatch, quick: str) -> AsrPlan:
    monkeypatch.setenv("QUICK", quick)
    monkeypatch.delenv("CELLS", raising=False)
    monkeypatch.setattr("bench.asr_plan.usable_cores", lambda: 2)
    monkeypatch.setattr("core.catalogue.Catalogue.require", lambda _, model: model)
    return AsrPlan.from_environment()


def test_a_quick_run_stays_under_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 5 < minutes(plan(monkeypatch, "1"), CLIPS) < 15


def test_the_parts_add_up_and_a_whole_run_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, quick = (plan(monkeypatch, quick) for quick in ("", "1"))
    for one in PARTS:
        assert minutes(replace(whole, parts=(one,)), CLIPS) >= minutes(replace(quick, parts=(one,)), CLIPS) > 0
    assert sum(minutes(replace(whole, parts=(one,)), CLIPS) for one in PARTS) == pytest.approx(minutes(whole, CLIPS))
