"""The parts of `make bench-asr` with sides that say what they are told, and take as long."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench import asr_bench, asr_service, asr_sides, asr_speed, speech
from bench.asr_bench import BATCHED, PLAIN, SEQUENTIAL, Bench
from bench.sides import OURS, Resident, Run
from bench.speech import Clip
from tests.bench.asr_runs import SAID, plan


@dataclass
class Talker(Resident):
    """Says something in its n-th run, the last thing again and again; other files may have a text of their own.

    `seconds` is the wall time of a run, `waits` the seconds until each answer of its n-th run, measured where none are
    given.
    """

    says: Sequence[str] = (SAID,)
    of_files: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    waits: Sequence[Sequence[float]] = ()
    runs: int = 0

    def transcribe(self, clip: Clip) -> str:
        return self.of_files.get(clip.path.name) or self.says[min(self.runs, len(self.says)) - 1]

    def run(self, clips: Sequence[Clip], *, concurrency: int) -> Run:
        self.runs += 1
        found = replace(super().run(clips, concurrency=concurrency), seconds=self.seconds, health_ms=(1.0,))
        if not self.waits:
            return found
        told = self.waits[self.runs - 1]
        return replace(
            found, heard=tuple(replace(one, seconds=wait) for one, wait in zip(found.heard, told, strict=True))
        )


def talker(name: str = OURS, *says: str, seconds: float = 1.0, of_files: Mapping[str, str] | None = None) -> Talker:
    return Talker(name, os.getpid(), says=says or (SAID,), seconds=seconds, of_files=of_files or {})


@pytest.fixture
def bench(spoken: list[Clip], tmp_path: Path) -> Bench:
    few = plan(
        quick=True, rounds=1, long_rounds=1, long_seconds=20.0, mixed_clips=3, hour_seconds=20.0, answers_under_load=6
    )
    return Bench(few, tmp_path, spoken, lambda _: None)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that has the parts use some sides, which are there already."""

    def use(*sides: Talker) -> None:
        monkeypatch.setattr(Bench, "sides", lambda *_: nullcontext(list(sides)))
        monkeypatch.setattr(asr_sides, "ours", lambda _: nullcontext(sides[0]))

    monkeypatch.setattr(Bench, "warm_up", lambda *_: None)
    monkeypatch.setattr(asr_bench, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(asr_service, "IDLE_SECONDS", 0)
    monkeypatch.setattr(asr_service, "until_idle", lambda _: None)
    monkeypatch.setattr(asr_service, "_until_unloaded", lambda *_: None)
    monkeypatch.setattr(asr_service, "_transcribing", lambda *_: nullcontext())
    return use


@pytest.mark.parametrize(("with_vad", "without"), [(3.0, 5.0), (5.0, 3.0)])
@pytest.mark.usefixtures("counted")
def test_the_faster_way_to_use_the_library_counts(
    with_vad: float, without: float, bench: Bench, use: Callable[..., None]
) -> None:
    use(talker(), talker(SEQUENTIAL, seconds=with_vad), talker(PLAIN, seconds=without))
    part = asr_speed.short(bench)
    assert part.figures == {"short_clips_vs_bare_speedup": 3.0}
    assert [row["side"] for row in part.rows] == [OURS, SEQUENTIAL, PLAIN]
    assert part.failures == []


@pytest.mark.parametrize("wrong", ["minute.flac", "long.flac"])
@pytest.mark.usefixtures("counted")
def test_the_minute_is_checked_like_the_long_file(wrong: str, bench: Bench, use: Callable[..., None]) -> None:
    said = speech.recording(bench.clips, bench.folder / "the-same.flac", 20.0).text
    bare = [talker(name, said, seconds=3.0) for name in (SEQUENTIAL, BATCHED)]
    use(talker(OURS, said), *bare)
    assert asr_speed.long(bench).failures == []
    use(talker(OURS, said, of_files={wrong: "something else"}), *bare)
    (failure,) = asr_speed.long(bench).failures
    assert failure.startswith({"minute.flac": "60 s: ", "long.flac": "10 min: "}[wrong])


@pytest.mark.parametrize(("beside", "fails"), [(SAID.replace("one", "x"), False), ("x x " + SAID[8:], True)])
def test_clips_beside_a_long_file_are_heard_as_alone(
    beside: str, fails: bool, bench: Bench, use: Callable[..., None]
) -> None:
    alone, busy = (0.5, 0.25, 0.25), (0.25, 0.75, 1.0)
    use(replace(talker(OURS, SAID, beside), waits=(alone, busy)))
    part = asr_service.mixed(bench)
    assert bool(part.failures) == fails
    assert part.figures == {"mixed_short_p95_vs_alone": 2.0}
    assert part.samples == {"alone": [*alone], "beside": [*busy]}


@pytest.mark.parametrize(
    ("says", "failures"),
    [
        ((SAID,), 0),
        ((SAID, "something else"), 1),
        (("something else",), 1),
    ],
)
@pytest.mark.usefixtures("counted")
def test_words_under_load_must_be_right_and_the_same(
    says: tuple[str, ...], failures: int, bench: Bench, use: Callable[..., None]
) -> None:
    use(talker(OURS, *says))
    assert len(asr_service.livez(bench).failures) == failures


@pytest.mark.parametrize(("wrong", "fails"), [(0, False), (1, True)])
@pytest.mark.usefixtures("counted")
def test_the_words_of_the_hour_must_be_right(wrong: int, fails: bool, bench: Bench, use: Callable[..., None]) -> None:
    said = speech.recording(bench.clips, bench.folder / "the-same.flac", 20.0).text.split()
    heard = " ".join(said[: len(said) * (2 - wrong) // 2])  # half of them
    use(talker(OURS, SAID, heard))
    assert bool(asr_service.memory(bench).failures) == fails


@pytest.mark.parametrize(("reloaded", "fails"), [(SAID, False), ("something else", True)])
def test_a_model_that_was_loaded_again_hears_the_same(
    reloaded: str, fails: bool, bench: Bench, use: Callable[..., None]
) -> None:
    use(talker(OURS, SAID, SAID, reloaded))
    assert bool(asr_service.reload(bench).failures) == fails
