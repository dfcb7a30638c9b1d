"""Parts of a benchmark that were run one by one end up in one file, unless they cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import parts, results
from bench.machine import describe
from bench.parts import Part

OWNERS = {"fast": "short", "small": "memory"}


def new(**changed: Any) -> results.Result:
    given = {"quick": False, "machine": describe(), "settings": {"threads": 2}}
    return results.Result(measured_at=results.now(), unit="s", samples={}, **(given | changed))


def found(earlier: results.Result | None, given: results.Result, **by_part: Part) -> results.Result:
    return parts.result(by_part, OWNERS, earlier, given)


def short(value: float, *, note: str = "busy", failures: list[str] | None = None) -> Part:
    return Part(
        figures={"fast": value},
        rows=[{"side": "ours", "p50 s": value}],
        samples={"ours": [value]},
        details={"seconds taken": value},
        notes=[note],
        failures=failures or [],
    )


@pytest.fixture
def earlier() -> results.Result:
    return found(None, new(), short=short(1.0, failures=["wrong"]), memory=Part(figures={"small": 9.0}, notes=["cold"]))


def test_a_part_replaces_what_it_found_before(earlier: results.Result) -> None:
    merged = found(earlier, new(), short=short(2.0, note="quiet"))
    assert merged.figures == {"fast": 2.0, "small": 9.0}
    assert merged.tables == {"short": ({"side": "ours", "p50 s": 2.0},)}
    assert merged.samples == {"short: ours": (2.0,)}
    assert merged.details == {"short: seconds taken": 2.0}
    assert merged.notes == ("memory: cold", "short: quiet")
    assert merged.failures == ()


def test_a_figure_that_is_not_found_again_is_gone(earlier: results.Result) -> None:
    assert found(earlier, new(), short=Part()).figures == {"small": 9.0}


def test_failures_of_other_parts_stay(earlier: results.Result) -> None:
    assert found(earlier, new(), memory=Part()).failures == ("short: wrong",)


@pytest.mark.parametrize(
    "changed",
    [
        {"quick": True},
        {"settings": {"threads": 4}},
        {"machine": describe().model_copy(update={"commit": "another"})},
        {"machine": describe().model_copy(update={"cpu": "another"})},
    ],
)
def test_what_cannot_be_compared_is_dropped(earlier: results.Result, changed: dict[str, Any]) -> None:
    merged = found(earlier, new(**changed), short=short(2.0))
    assert merged.figures == {"fast": 2.0}
    assert merged.notes == ("short: busy",)


def test_another_load_is_the_same_machine(earlier: results.Result) -> None:
    busy = describe().model_copy(update={"load": 7.0})
    assert found(earlier, new(machine=busy), short=short(2.0)).figures == {"fast": 2.0, "small": 9.0}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in CODE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    return tmp_path


CODE = ("src/asr/x.py", "src/core/x.toml", "bench/asr.py", "pyproject.toml", "environments/words/built.stamp")


@pytest.mark.parametrize("name", CODE)
def test_results_are_of_one_code(name: str, checkout: Path) -> None:
    def code() -> str:
        return parts.code(checkout, checkout / "environments")

    before = code()
    assert code() == before
    assert len(before) == 12
    (checkout / "bench" / "README.md").write_text("other words")
    assert code() == before
    (checkout / name).write_text("two")
    assert code() != before
