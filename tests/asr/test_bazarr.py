"""Bazarr and its family over HTTP: its own request shape, the answers it can read, and nothing that makes it angry."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pysrt
import pysubs2
import pytest
import requests

from bench import processes
from tests.folders import contents
from tests.full_service import SETTINGS, calls, filled, stopped, until, worker

pytestmark = pytest.mark.e2e
TIMEOUT = (5, 3600)
"""Bazarr's: to connect, which with it includes sending the body; and to read."""
AGENT = {"User-Agent": "Subliminal/2.2"}
RATE = 16_000
FILM_MIB = 24
"""Enough to see what a film costs; `make bench-upload` sends whole ones."""
MIB = 1 << 20


def speech(seconds: float, seed: int = 0) -> bytes:
    """Bare samples of something that is not silence."""
    return np.random.default_rng(seed).normal(0, 3000, round(seconds * RATE)).astype("<i2").tobytes()


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


def send(url: str, path: str, body: bytes, **query: str) -> requests.Response:
    """Post as Bazarr does: everything in the query, the samples as a file part without a content type."""
    params = {"encode": "false", **query}
    return requests.post(f"{url}{path}", params=params, files={"audio_file": body}, timeout=TIMEOUT, headers=AGENT)


def subtitles(url: str, body: bytes, path: str = "/asr", **query: str) -> requests.Response:
    query = {"task": "transcribe", "language": "en", "output": "srt", **query}
    return send(url, path, body, **query)


@pytest.fixture(scope="module")
def url(fake_asr: Any) -> str:
    return str(fake_asr.url)


@pytest.fixture(scope="module")
def slow_service(start_service: Any) -> Any:
    """A service that needs 30 ms per second of audio."""
    return start_service(
        "asr",
        {
            "ASR_MODEL": "fake",
            "ASR_ENGINE": "fake",
            "ASR_ENGINE_OPTIONS__DELAY": "0.03",
            "EMPTY_SUBTITLE": "blank",
        },
    )


@pytest.fixture
def slow(slow_service: Any) -> Any:
    """The slow service, when it has nothing left to do."""
    until(lambda: calls(slow_service.url) == (0, 0) and not slow_service.leftovers())
    return slow_service


def copies(service: Any, body: bytes) -> int:
    """How many files in the spool are a whole upload of this size, or are held for the work on one."""
    held = [content for folder in service.leftovers() for content in contents(folder).values()]
    return sum(len(content) == len(body) for content in held)


def audio_seconds(service: Any) -> float:
    """How much audio was transcribed so far."""
    lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("voice_stack_audio_seconds_total"))


# --- the answers


@pytest.mark.parametrize("prefix", ["", "/bazarr"])
def test_bazarrs_two_requests(url: str, prefix: str) -> None:
    body = speech(60)
    detected = send(url, f"{prefix}/detect-language", body, video_file="/films/a film.mkv")
    assert detected.json() == {"detected_language": "english", "language_code": "en", "confidence": 0.9}
    answer = subtitles(url, body, f"{prefix}/asr", video_file="/films/a film.mkv")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="audio_file.srt"'
    assert answer.headers["asr-engine"] == "fake"
    strict = pysrt.from_string(answer.text, error_handling=pysrt.SubRipFile.ERROR_RAISE)
    lenient = pysubs2.SSAFile.from_string(answer.text)
    assert len(strict) == len(lenient.events) > 10
    assert strict[-1].end.ordinal == 60_000
    for item in strict:
        assert len(item.text.splitlines()) <= 2
        assert all(len(line) <= 42 for line in item.text.splitlines())


def test_subtitles_stay_where_they_were_spoken(url: str) -> None:
    # The file is cut in the middle of the silence from 45 to 60, and the engine writes segments of 5 s from there on.
    answer = subtitles(url, silence(62.5) + speech(10) + silence(5))
    found = pysrt.from_string(answer.text, error_handling=pysrt.SubRipFile.ERROR_RAISE)
    assert (found[0].start.ordinal, found[-1].end.ordinal) == (62_500, 72_500)


def test_translations(url: str) -> None:
    body = speech(10)
    translated = subtitles(url, body, task="translate", language="de")
    assert translated.ok
    assert translated.text != subtitles(url, body, language="de").text


@pytest.mark.parametrize("language", ["no", "nn", "jw", "haw", "yue", "auto", "", "klingon"])
def test_no_language_is_refused(url: str, language: str) -> None:
    assert subtitles(url, speech(2), language=language).ok


@pytest.mark.parametrize("body", [b"", b"\0", silence(0.5), silence(40)])
def test_silence_is_an_empty_answer_and_no_language(url: str, body: bytes) -> None:
    answer = subtitles(url, body)
    assert (answer.status_code, answer.content) == (200, b"")
    detected = send(url, "/detect-language", body)
    assert (detected.status_code, detected.json()) == (200, {})


def test_an_empty_subtitle_may_be_a_line_break(slow: Any) -> None:
    assert subtitles(slow.url, silence(1)).content == b"\n"
    assert subtitles(slow.url, silence(1), output="txt").content == b""


@pytest.fixture(scope="module")
def special(start_service: Any) -> str:
    """The address, with a password in it, of a service that hears Cantonese and keeps its clients awake."""
    service = start_service(
        "asr",
        {
            "ASR_MODEL": "fake",
            "ASR_ENGINE": "fake",
            "ASR_ENGINE_OPTIONS__LANGUAGE": "yue",
            "ASR_ENGINE_OPTIONS__DELAY": "0.1",
            "API_KEYS": "the-key",
            "HEARTBEAT_SECONDS": "0.5",
        },
    )
    return str(service.url).replace("http://", "http://anybody:the-key@")


def test_cantonese_is_chinese_to_bazarr(special: str) -> None:
    found = send(special, "/detect-language", speech(5)).json()
    assert (found["detected_language"], found["language_code"]) == ("chinese", "zh")


@pytest.mark.parametrize("path", ["/asr", "/bazarr/asr", "/detect-language"])
def test_a_wrong_password_is_told_in_text(special: str, path: str) -> None:
    answer = send(special.replace("the-key", "another"), path, speech(1))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_blanks_before_the_answer_do_no_harm(special: str) -> None:
    answer = subtitles(special, speech(10))
    assert answer.text.startswith("\n1\n")
    assert len(pysrt.from_string(answer.text, error_handling=pysrt.SubRipFile.ERROR_RAISE)) == 2
    assert subtitles(special, speech(10), output="json").text.startswith(" {")


@pytest.mark.parametrize("output", ["txt", "text", "vtt", "srt", "tsv", "json", "jsonl"])
def test_every_output_carries_the_text(url: str, output: str) -> None:
    answer = subtitles(url, speech(10), output=output)
    kind = "application/json" if output == "json" else "text/plain; charset=utf-8"
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"].endswith(f'.{output}"')
    plain = subtitles(url, speech(10), output="txt").text.split()
    assert set(plain) <= set(answer.text.replace('"', " ").split())


def test_json_tells_the_code_and_words_when_asked(url: str) -> None:
    plain = subtitles(url, speech(10), output="json").json()
    assert plain["language"] == "en"
    assert plain["text"] == "".join(segment["text"] for segment in plain["segments"]).strip()
    assert "words" not in plain["segments"][0]
    words = subtitles(url, speech(10), output="json", word_timestamps="true").json()["segments"][0]["words"]
    assert words[0]["word"] == plain["text"].split()[0]


def test_fields_may_be_in_the_form_which_wins_over_the_query(url: str) -> None:
    answer = requests.post(
        f"{url}/bazarr/asr?output=txt&language=de",
        data={"encode": "false", "output": "json", "language": "french"},
        files={"file": speech(2)},
        timeout=TIMEOUT,
    )
    assert answer.json()["language"] == "fr"


@pytest.mark.parametrize("encode", ["false", "true"])
@pytest.mark.parametrize("name", ["p001.ogg", "p001.mp4", "p001.webm", "english.wav"])
def test_a_file_is_decoded_whatever_encode_says(url: str, speech_data: Path, name: str, encode: str) -> None:
    body = (speech_data / "containers" / name).read_bytes()
    assert subtitles(url, body, encode=encode).text.startswith("1\n00:00:00,000 --> ")
    assert send(url, "/detect-language", body, encode=encode).json()["language_code"] == "en"


def test_where_to_listen_for_the_language(url: str) -> None:
    body = speech(30) + silence(60)
    assert send(url, "/detect-language", body, detect_lang_offset="30").json() == {}
    assert send(url, "/detect-language", body, detect_lang_length="5").json()["language_code"] == "en"


@pytest.mark.parametrize(
    ("name", "code"), [("multi/de.mp3", "de"), ("multi/es.mp3", "es"), ("nospeech/music_20s.flac", None)]
)
def test_a_real_model_tells_languages(real_asr: Any, speech_data: Path, name: str, code: str | None) -> None:
    answer = send(real_asr.url, "/detect-language", (speech_data / name).read_bytes(), encode="true")
    assert answer.json().get("language_code") == code


# --- what is opened in a browser


@pytest.mark.parametrize("prefix", ["", "/bazarr"])
def test_pages_for_people_and_tests_of_the_address(url: str, prefix: str) -> None:
    for path in ("/asr", "/detect-language"):
        page = requests.get(f"{url}{prefix}{path}", timeout=5)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain")
    assert requests.get(f"{url}{prefix}/status", timeout=5).json()["version"].startswith("voice-stack ")


def test_models(url: str) -> None:
    assert httpx.get(f"{url}/bazarr/models").json() == httpx.get(f"{url}/v1/models").json()


def test_these_routes_have_no_prefix(url: str) -> None:
    assert httpx.post(f"{url}/v1/asr").status_code == 404


# --- errors


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"output": "ass"}, 400, "'output'"),
        ({"task": "sing"}, 400, "'task'"),
        ({"encode": "perhaps"}, 400, "'encode'"),
        ({"diarize": "true", "min_speakers": "3", "max_speakers": "2"}, 400, "min_speakers"),
        ({"min_speakers": "0"}, 400, "min_speakers"),
        ({"model": "nobody"}, 404, "nobody"),
        ({"encode": "true"}, 400, "audio"),
    ],
)
def test_errors_are_text(url: str, query: dict[str, str], status: int, says: str) -> None:
    answer = subtitles(url, speech(1), **query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert says in answer.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


def test_a_request_without_a_file_is_told_so(url: str) -> None:
    for path in ("/asr", "/detect-language"):
        answer = requests.post(f"{url}{path}", data={"encode": "false"}, timeout=TIMEOUT)
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/asr", "/bazarr/detect-language"])
def test_a_body_of_another_kind_is_told_how_it_is_sent(url: str, path: str) -> None:
    answer = requests.post(f"{url}{path}", data=b"x", headers={"Content-Type": "text/plain"}, timeout=TIMEOUT)
    assert answer.status_code == 415
    assert "audio_file" in answer.text
    assert "input_audio" not in answer.text


def test_an_output_counts_in_any_case(url: str) -> None:
    assert subtitles(url, speech(1), output="SRT").content == subtitles(url, speech(1)).content != b""


def test_a_crash_is_text_too(url: str) -> None:
    answer = subtitles(url, speech(1, seed=77), initial_prompt="fake:crash")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/plain")


# --- load


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(8) as made:
        yield made


def test_four_films_at_once_while_one_is_worked_on(slow: Any, pool: ThreadPoolExecutor) -> None:
    film = silence(FILM_MIB * MIB / 2 / RATE - 5) + speech(5)
    # All of it takes 18 s, unless we leave.
    long = {"files": {"file": ("a.wav", speech(600, seed=1), "audio/pcm")}, "timeout": 60}
    with httpx.stream("POST", f"{slow.url}/v1/audio/transcriptions", data={"stream": "true"}, **long) as running:
        lines = running.iter_lines()  # kept: httpx hangs up when it goes
        assert any(line.startswith("data:") for line in lines)
        with processes.watching(slow.pid) as watch:
            before = processes.memory(slow.pid).rss
            sent = [pool.submit(send, slow.url, "/detect-language", film) for _ in range(4)]
            with httpx.Client(timeout=30) as client:
                while not all(future.done() for future in sent):
                    assert client.get(f"{slow.url}/livez").is_success
                    threading.Event().wait(0.05)
        assert [future.result().json().get("language_code") for future in sent] == ["en"] * 4
        assert calls(slow.url) == (1, 0), "languages are told beside the transcription"
    assert (watch.peaks["api"] - before) * 1e6 / MIB < 32


def test_bazarr_is_never_told_to_come_back_later(start_service: Any, pool: ThreadPoolExecutor) -> None:
    url = start_service("asr", SETTINGS).url
    with filled(url):
        sent = [pool.submit(subtitles, url, speech(0.2, seed=seed)) for seed in range(10, 14)]
        until(lambda: calls(url)[1] == 5)
        other = {"file": ("a.raw", speech(1), "audio/pcm")}
        assert httpx.post(f"{url}/v1/audio/transcriptions", files=other, timeout=60).status_code == 429
    answers = [future.result() for future in sent]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 4


def test_the_same_request_twice_is_worked_on_once(slow: Any, pool: ThreadPoolExecutor) -> None:
    body, before = speech(60, seed=20), audio_seconds(slow)
    with stopped(worker(slow.url)):
        sent: list[Future[requests.Response]] = [pool.submit(subtitles, slow.url, body)]
        until(lambda: calls(slow.url)[0] == 1)
        sent += [pool.submit(subtitles, slow.url, body) for _ in range(2)]
        until(lambda: copies(slow, body) >= 4)  # the three requests' and that of the work
    answers = {future.result().content for future in sent}
    assert len(answers) == 1
    assert audio_seconds(slow) - before == 60


def test_who_leaves_takes_nothing_from_those_who_stay(slow: Any, pool: ThreadPoolExecutor) -> None:
    body, before = speech(60, seed=30), audio_seconds(slow)
    form = {"files": {"file": ("a.wav", body, "audio/pcm")}, "timeout": 60}
    url = f"{slow.url}/v1/audio/transcriptions"
    with ExitStack() as stay, httpx.stream("POST", url, data={"stream": "true"}, **form) as stream:
        lines = stream.iter_lines()  # kept: httpx hangs up when it goes
        assert any(line.startswith("data:") for line in lines)
        stay.enter_context(stopped(worker(slow.url)))  # until the stream has been left
        other = pool.submit(httpx.post, url, **form)
        until(lambda: copies(slow, body) >= 3)  # the two requests' and that of the work
    text = other.result().json()["text"]
    assert len(text.split()) == 120
    assert audio_seconds(slow) - before == 60
    until(lambda: not slow.leftovers())


def test_work_ends_when_the_last_reader_leaves(slow: Any) -> None:
    body = speech(600, seed=40)
    address = urlsplit(slow.url)
    for path in ("/asr", "/v1/audio/transcriptions"):
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                f"http://{address.netloc}{path}?encode=false",
                files={"audio_file": ("a.wav", body, "audio/pcm")},
                timeout=(5, 1),
            )
    until(lambda: calls(slow.url) == (0, 0))
    until(lambda: not slow.leftovers())
