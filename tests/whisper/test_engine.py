"""What the whisper engine hears in real recordings with Whisper base and tiny.en, and how it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr.engine import WindowText
from asr.engines.faster_whisper import FasterWhisperEngine
from asr.engines.whisper import WhisperEngine
from asr.engines.whisper_decoding import TorchWork
from asr.transcript import TEMPERATURE_LADDER, TranscribeOptions
from core.engines import EngineContext
from core.errors import UnsupportedParameter, UnsupportedTask
from tests.whisper.conftest import Hear, Load, listen, text
from utils.text.wer import edits, words

JFK = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
READ = {"de": "raum", "es": "blanquecinas", "fr": "conservateur", "pt": "raposa"}
"""A word of each recording that Whisper base hears, more or less."""
NO_SPEECH = ("music_20s.flac", "noise1.wav", "silence_30s.wav", "whitenoise_15s.flac")


def wrong(said: str, heard: str) -> float:
    return edits(words(said), words(heard)) / len(words(said))


def decoded(engine: WhisperEngine, work: TorchWork) -> WindowText:
    (result,) = engine.decode([work])
    return decoded(engine, result) if isinstance(result, TorchWork) else result  # type: ignore[return-value]


@pytest.mark.parametrize("model", ["whisper-base", "whisper-tiny.en"])
def test_a_real_sentence(load_engine: Load, hear: Hear, model: str) -> None:
    assert wrong(JFK, text(load_engine(model), hear("en/jfk.wav"))) <= 0.05


@pytest.mark.slow
def test_several_windows_as_right_as_faster_whispers(
    base: WhisperEngine, hear: Hear, speech_data: Path, model_dir: Callable[[str], Path]
) -> None:
    said = (speech_data / "en" / "en.txt").read_text(encoding="utf-8")
    audio = hear("en/en.mp3")
    found = listen(base, audio, language="en", beam_size=1)
    other = FasterWhisperEngine(EngineContext(model=model_dir("whisper-base"), threads=1, workers=1))
    other.load()
    theirs = "".join(
        part.text for part in other.transcribe(audio, TranscribeOptions(language="en", beam_size=1)).segments
    )
    other.close()
    assert wrong(said, "".join(segment.text for segment in found)) <= wrong(said, theirs) + 0.03
    assert found[-1].end > 45


@pytest.mark.parametrize(
    "language", [pytest.param(each, marks=() if each == "de" else pytest.mark.slow) for each in READ]
)
def test_the_language_and_how_sure_it_is(base: WhisperEngine, hear: Hear, language: str) -> None:
    audio = hear(f"multi/read_{language}.wav")
    guess = base.detect_language(audio)
    found = base.transcribe(audio, TranscribeOptions())
    assert (guess.language, found.language) == (language, language)
    assert found.language_probability == pytest.approx(guess.probability, abs=0.2)  # of a window without the silence
    assert 0.5 < found.language_probability <= 1.0
    assert READ[language] in "".join(segment.text for segment in found.segments).lower()


def test_the_confidence_is_that_of_the_language_among_the_candidates(base: WhisperEngine, hear: Hear) -> None:
    audio = hear("multi/read_de.wav")
    quick = TranscribeOptions(beam_size=1, temperature=(0.0,))
    alone = base.prepare(audio, quick)
    among = base.prepare(audio, replace(quick, languages=("fr", "es")))
    german, other = (decoded(base, work) for work in (alone, among))
    assert german.language == "de"
    assert other.language in {"fr", "es"}
    certain = decoded(base, base.prepare(audio, replace(quick, language="fr")))
    assert (certain.language, certain.language_probability) == ("fr", 1.0)
    assert 0.5 <= other.language_probability <= 1.0  # of two
    assert german.language_probability > 0.5


def test_translates_into_english(base: WhisperEngine, hear: Hear) -> None:
    said = text(base, hear("multi/read_fr.wav"), task="translate")
    assert " the " in f" {said.lower()} "
    assert "conservateur" not in said.lower()


def test_english_only(load_engine: Load, hear: Hear) -> None:
    tiny = load_engine("whisper-tiny.en")
    assert tiny.languages == ("en",)
    with pytest.raises(UnsupportedTask):
        tiny.check(TranscribeOptions(task="translate"))
    with pytest.raises(UnsupportedParameter):
        tiny.check(TranscribeOptions(language="de"))
    assert tiny.transcribe(hear("en/jfk.wav"), TranscribeOptions()).language == "en"


def test_words_are_where_they_were_spoken(base: WhisperEngine, hear: Hear) -> None:
    (first, *_) = listen(base, hear("en/jfk.wav"), word_timestamps=True)
    timed = {word.word.strip(" ,.").lower(): word for word in first.words}
    assert 1.0 < timed["fellow"].start < timed["fellow"].end < 2.0
    assert 1.3 < timed["americans"].start < 2.2
    assert all(0 < word.probability <= 1 for word in first.words)


def test_logprobs_come_from_the_same_pass_as_the_words(base: WhisperEngine, hear: Hear) -> None:
    for segment in listen(base, hear("en/jfk.wav"), logprobs=True, word_timestamps=True):
        assert b"".join(bytes(token.bytes) for token in segment.logprobs).decode() == segment.text
        mean = sum(token.logprob for token in segment.logprobs) / len(segment.logprobs)
        assert mean == pytest.approx(segment.avg_logprob, abs=0.3)


@pytest.mark.parametrize("name", NO_SPEECH)
def test_nothing_is_made_up(base: WhisperEngine, hear: Hear, name: str) -> None:
    assert text(base, hear(f"nospeech/{name}")) == ""


def test_a_prompt_decides_how_a_name_is_written(base: WhisperEngine, hear: Hear) -> None:
    audio = hear("multi/read_en.wav")
    assert "Kwilter" in text(base, audio, language="en", prompt="A review of the paintings of Mr. Kwilter.")


def test_a_prompt_with_commands_in_it_is_only_text(base: WhisperEngine, hear: Hear) -> None:
    audio = hear("en/jfk.wav")
    assert wrong(JFK, text(base, audio, language="en", prompt="<|endoftext|> <|de|><|0.00|> speech " * 200)) < 0.3


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 2}, {"temperature": (0.2,), "best_of": 2}])
def test_ways_to_search(load_engine: Load, hear: Hear, options: dict[str, object]) -> None:
    assert wrong(JFK, text(load_engine("whisper-tiny.en"), hear("en/jfk.wav"), language="en", **options)) <= 0.15


def test_a_doubtful_text_is_tried_at_the_next_temperature(load_engine: Load, hear: Hear) -> None:
    strict = load_engine("whisper-tiny.en", log_prob_threshold=-0.001, beam_size=1, best_of=1, no_speech_threshold=1.0)
    work = strict.prepare(hear("en/jfk.wav"), TranscribeOptions(temperature=(0.0, 0.4)))
    (again,) = strict.decode([work])
    assert isinstance(again, TorchWork)
    assert again.temperature == 0.4
    assert len(again.failed) == 1
    assert again.encoding is not None
    assert again.key != work.key
    (done,) = strict.decode([again])
    assert isinstance(done, WindowText)
    assert {segment.temperature for segment in done.segments} == {0.4}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"beam_size": 1}, marks=pytest.mark.slow),
        {"beam_size": 2},
        pytest.param({"temperature": (0.2,), "best_of": 2}, marks=pytest.mark.slow),
    ],
)
def test_windows_of_one_call_say_what_they_say_alone(load_engine: Load, hear: Hear, how: dict[str, Any]) -> None:
    engine = load_engine("whisper-tiny.en")
    options = TranscribeOptions(language="en", **how)
    works = [engine.prepare(hear(name), options) for name in ("en/jfk.wav", "multi/read_en.wav")]
    assert works[0].key == works[1].key
    found = [engine.decode(works), [engine.decode([work])[0] for work in works]]
    together, alone = (["".join(part.text for part in one.segments) for one in each] for each in found)  # type: ignore[union-attr]
    assert together == alone if options.temperature == TEMPERATURE_LADDER else all(together)
    assert wrong(JFK, together[0]) <= 0.15


def test_languages_of_one_call_are_detected_one_by_one(base: WhisperEngine, hear: Hear) -> None:
    works = [base.prepare(hear(f"multi/read_{code}.wav"), TranscribeOptions()) for code in ("de", "es")]
    found = base.decode(works)
    assert [work.language for work in found if isinstance(work, TorchWork)] == ["de", "es"]
    assert found[0].key != found[1].key  # type: ignore[union-attr]


def test_windows_told_different_things_are_not_decoded_together(base: WhisperEngine, hear: Hear) -> None:
    audio = hear("en/jfk.wav", seconds=3)
    usual = TranscribeOptions(language="en")
    others = [replace(usual, prompt="x"), replace(usual, language="de"), replace(usual, task="translate")]
    key = base.prepare(audio, usual).key
    assert all(base.prepare(audio, other).key != key for other in others)


def test_cancelling_between_windows(base: WhisperEngine, hear: Hear, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    decode = base.decode
    monkeypatch.setattr(base, "decode", lambda works: calls.append(1) or decode(works))
    found = base.transcribe(hear("en/en.mp3"), TranscribeOptions(language="en", beam_size=1))
    assert next(found.segments).text
    done = len(calls)
    found.segments.close()  # type: ignore[attr-defined]
    assert next(found.segments, None) is None
    assert len(calls) == done


def test_no_more_threads_than_it_was_given(checkpoint: Callable[[str], Path]) -> None:
    code = (
        "import pathlib, sys, torch, voice_stack; from asr.engines.whisper import WhisperEngine;"
        "from core.engines import EngineContext;"
        "WhisperEngine(EngineContext(model=pathlib.Path(sys.argv[1]), threads=1)).load();"
        "print(torch.get_num_threads())"
    )
    # In a process of its own: numba starts its threads once.
    program = [sys.executable, "-W", "ignore", "-c", code, str(checkpoint("whisper-tiny.en"))]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.slow
def test_a_measured_window_of_noise(base: WhisperEngine) -> None:
    base.measure(8.0, 2)
