"""The jobs in their database: one owner, one end, nothing lost between two openings of the file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr.jobs.job import Chunk, JobRequest, NewJob
from asr.jobs.rows import to_segments
from asr.jobs.store import CALLBACK_MARGIN, JobStore
from asr.result import SubtitleLayout
from asr.transcript import LanguageGuess, Segment, TokenLogprob, TranscribeOptions, Word
from core import errors
from utils.audio.pcm import PcmFile

REQUEST = JobRequest(
    options=TranscribeOptions(language=None, hotwords=("a", "b"), word_timestamps=True),
    response_format="srt",
    words=True,
    layout=SubtitleLayout(max_line_width=30),
    raw_rate=8000,
)
PCM = PcmFile(Path("/somewhere/audio.s16"), frames=160_000, sample_rate=16_000, channels=2, offset=44)
ENGLISH = LanguageGuess("en", 0.75)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    made = JobStore(path)
    yield made
    made.close()


def new(name: str, **more: Any) -> NewJob:
    values: dict[str, Any] = {"owner": "me", "model": "fake", "request": REQUEST, "fingerprint": "f"}
    return NewJob(id=name, **{**values, **more})


def add(store: JobStore, name: str, **more: Any) -> str:
    return store.add(new(name, **more), max_open=100)[0].id


def segment(number: int, start: float = 0.0) -> Segment:
    words = (Word(" Hi", start, start + 1, 0.5), Word(" thére.", start + 1, start + 2))
    logprobs = (TokenLogprob(" Hi", -0.25, (32, 72, 105)),)
    return Segment(
        id=number, start=start, end=start + 2, text=" Hi thére.", tokens=(1, 2), words=words, logprobs=logprobs
    )


def said(store: JobStore, name: str) -> tuple[Segment, ...]:
    return to_segments(store.result(name)[1])


def run(store: JobStore, name: str, *, frames: int = 160_000) -> None:
    """Bring a job to the point at which its only chunk is done next."""
    assert store.begin(name)
    store.decoded(name, PCM)
    assert store.begin_chunk(name, Chunk(number=0, start=0, stop=frames))


def test_a_job_comes_back_as_it_was_given(store: JobStore, path: Path) -> None:
    before = time.time()
    add(store, "a", callback_url="https://example.com/x")
    store.close()
    job = JobStore(path).get("a", owner="me")
    assert (job.request, job.model, job.status, job.progress) == (REQUEST, "fake", "queued", 0.0)
    assert before <= job.created_at <= time.time()
    assert job.started_at is job.finished_at is job.pcm is job.error is None
    assert job.callback_url == "https://example.com/x"


def test_before_the_first_job_there_is_no_file(store: JobStore, path: Path) -> None:
    assert store.page("me", limit=10, after=None, status=None) == []
    with pytest.raises(errors.NotFound):
        store.get("a")
    assert not path.exists()


def test_others_do_not_find_it(store: JobStore) -> None:
    add(store, "a")
    for owner, name in (("you", "a"), ("", "a"), ("me", "b")):
        with pytest.raises(errors.NotFound):
            store.get(name, owner=owner)
        with pytest.raises(errors.NotFound):
            store.result(name, owner=owner)
    assert store.page("you", limit=10, after=None, status=None) == []


def test_the_same_key_is_the_same_job_for_the_same_owner_only(store: JobStore) -> None:
    first, added = store.add(new("a", idempotency_key="k"), max_open=100)
    again, added_again = store.add(new("b", idempotency_key="k"), max_open=100)
    assert (first.id, added, again.id, added_again) == ("a", True, "a", False)
    assert add(store, "c", idempotency_key="k", owner="you") == "c"
    assert add(store, "d", idempotency_key="l") == "d"
    assert {add(store, "e"), add(store, "f")} == {"e", "f"}, "no key is not a key"
    with pytest.raises(errors.IdempotencyConflict):
        add(store, "g", idempotency_key="k", fingerprint="other")
    with pytest.raises(errors.NotFound):
        store.get("g")


def test_too_many_unfinished_jobs_are_refused_but_not_the_repeated_ones(store: JobStore) -> None:
    store.add(new("a", idempotency_key="k"), max_open=1)
    with pytest.raises(errors.QueueFull):
        store.add(new("b"), max_open=1)
    assert store.add(new("c", idempotency_key="k"), max_open=1)[0].id == "a"
    store.cancel("a")
    assert store.add(new("d"), max_open=1)[1]


def test_positions_count_the_queue_of_a_model(store: JobStore) -> None:
    for name, model in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x")):
        add(store, name, model=model)
    positions = {name: store.get(name).queue_position for name in "abcd"}
    assert positions == {"a": 1, "b": 2, "c": 1, "d": 3}
    store.begin("a")
    positions = {name: store.get(name).queue_position for name in "abcd"}
    assert positions == {"a": None, "b": 1, "c": 1, "d": 2}


def test_what_was_begun_is_due_first_then_the_first_of_each_model(store: JobStore) -> None:
    for name, model in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "x")):
        add(store, name, model=model)
    assert [job.id for job in store.due()] == ["a", "c"]
    store.begin("b")
    assert [job.id for job in store.due()] == ["b", "a", "c"]
    store.cancel("a")
    assert [job.id for job in store.due()] == ["b", "c", "e"]


def test_pages_go_from_the_newest_to_the_oldest(store: JobStore) -> None:
    for name in "abcde":
        add(store, name)
    store.cancel("d")
    seen = [job.id for job in store.page("me", limit=2, after=None, status=None)]
    seen += [job.id for job in store.page("me", limit=9, after=seen[-1], status=None)]
    assert seen == list("edcba")
    assert [job.id for job in store.page("me", limit=9, after=None, status="cancelled")] == ["d"]
    for owner, after in (("me", "nothing"), ("you", seen[0])):
        with pytest.raises(errors.InvalidRequest) as refused:
            store.page(owner, limit=9, after=after, status=None)
        assert refused.value.param == "after"


def test_before_the_first_job_there_is_none_to_go_on_after(store: JobStore) -> None:
    with pytest.raises(errors.InvalidRequest, match="no job with this id"):
        store.page("me", limit=9, after="nothing", status=None)


def test_chunks_are_kept_one_by_one_until_the_job_is_completed(store: JobStore, path: Path) -> None:
    add(store, "a")
    run(store, "a", frames=40_000)
    assert store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    job = store.get("a")
    assert (job.status, job.progress, job.frames_done, job.chunks_done) == ("running", 0.25, 40_000, 1)
    assert (job.language, job.language_probability, job.pcm) == ("en", 0.75, PCM)
    store.begin_chunk("a", Chunk(number=1, start=40_000, stop=160_000))
    assert store.begun_chunk("a", 1) == Chunk(number=1, start=40_000, stop=160_000, starts=1)
    store.close()
    assert store.begin_chunk("a", Chunk(number=1, start=40_000, stop=160_000)), "taken up again"
    assert store.begun_chunk("a", 1) == Chunk(number=1, start=40_000, stop=160_000, starts=2)
    assert store.finish_chunk("a", 1, [segment(1, 2.5)], LanguageGuess("de", 0.9))
    assert store.get("a").status == "running"
    store.complete("a")
    job = JobStore(path).get("a")
    assert (job.status, job.progress, job.language) == ("completed", 1.0, "en")
    assert job.finished_at
    assert said(JobStore(path), "a") == (segment(0), segment(1, 2.5))


def test_a_chunk_is_finished_once(store: JobStore) -> None:
    add(store, "a")
    run(store, "a")
    assert store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    assert not store.finish_chunk("a", 0, [segment(7)], ENGLISH)
    assert said(store, "a") == (segment(0),)


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_an_ended_job_takes_no_more_work(store: JobStore, end: str) -> None:
    add(store, "a")
    run(store, "a")
    error = errors.InvalidAudio("not audio", param="file")
    job = store.cancel("a") if end == "cancel" else (store.fail("a", error), store.get("a"))[1]
    assert job.status == ("cancelled" if end == "cancel" else "failed")
    assert not store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    assert not store.begin_chunk("a", Chunk(number=1, start=0, stop=1))
    assert not store.begin("a")
    store.complete("a")
    assert said(store, "a") == ()
    assert store.get("a").status == job.status


def test_an_end_is_final(store: JobStore) -> None:
    add(store, "a")
    run(store, "a")
    store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    store.complete("a")
    store.fail("a", errors.InvalidAudio("no"))
    job = store.cancel("a")
    assert (job.status, job.error) == ("completed", None)


def test_an_error_keeps_its_class(store: JobStore) -> None:
    add(store, "a")
    store.fail("a", errors.InvalidAudio("not audio", param="file"))
    error = store.get("a").error
    assert isinstance(error, errors.InvalidAudio)
    assert (error.message, error.param) == ("not audio", "file")


def test_finished_jobs_expire_with_their_text(store: JobStore) -> None:
    for name in ("a", "b"):
        add(store, name)
    run(store, "a")
    store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    store.complete("a")
    assert store.expire(before=time.time() - 10) == 0
    assert store.expire(before=time.time() + 10) == 1
    assert store.known(["a", "b", "c"]) == {"b": True}
    with pytest.raises(errors.NotFound):
        store.result("a")


def test_a_callback_is_due_until_it_is_delivered_or_given_up(store: JobStore) -> None:
    for name in ("a", "b", "c"):
        add(store, name, callback_url="https://example.com")
    assert store.callbacks() == []
    store.fail("a", errors.InvalidAudio("no"))
    store.fail("b", errors.InvalidAudio("no"))
    store.cancel("c")
    assert store.callbacks() == ["a", "b"], "who cancels knows"
    assert store.expire(before=time.time() + 10) == 1
    assert store.callback_tried("a", delivered=False, tries=2) == 1
    assert store.callback_tried("a", delivered=True, tries=2) == 2
    assert store.callback_tried("b", delivered=False, tries=2) == 1
    assert store.callbacks() == ["b"]
    assert store.callback_tried("b", delivered=False, tries=2) == 2
    assert store.callbacks() == []
    assert [store.get(name).callback_state for name in ("a", "b")] == ["delivered", "failed"]


def test_a_callback_that_never_ends_does_not_keep_its_job(store: JobStore) -> None:
    add(store, "a", callback_url="https://example.com")
    store.fail("a", errors.InvalidAudio("no"))
    assert store.expire(before=time.time() + CALLBACK_MARGIN - 10) == 0
    assert store.expire(before=time.time() + CALLBACK_MARGIN + 10) == 1
    assert store.callbacks() == []


def test_an_expired_job_is_gone_and_has_not_said_nothing(store: JobStore, path: Path) -> None:
    add(store, "a")
    run(store, "a")
    store.finish_chunk("a", 0, [segment(0)], ENGLISH)
    store.complete("a")
    job, texts = store.result("a")
    assert (job.status, to_segments(texts)) == ("completed", (segment(0),))
    JobStore(path).expire(before=time.time() + 10)
    with pytest.raises(errors.NotFound):
        store.result("a")
