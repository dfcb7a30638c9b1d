"""The faster-whisper engine: what it hears in real recordings, and what it refuses to make up."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.engine import WindowText, WindowWork
from asr.engines.faster_whisper import FasterWhisperEngine
from asr.engines.faster_whisper_window import WhisperWork
from asr.transcript import Segment, TranscribeOptions
from core.engines import EngineContext
from core.errors import ConfigurationError, UnsupportedTask
from utils.audio.pcm import Audio
from utils.audio.resample import resample
from utils.audio.spans import Span
from utils.text.wer import edits, words

ENGLISH = "whisper-tiny.en"
MULTILINGUAL = "whisper-base"
NO_SPEECH = (
    "music_20s.flac",
    "noise1.wav",
    "noise3.wav",
    "room_empty.wav",
    "silence_30s.wav",
    "whitenoise_15s.flac",
)
LIBRISPEECH = (
    *("1688-142285-0001", "1688-142285-0003", "1688-142285-0007", "1998-15444-0002", "1998-15444-0007"),
    *("2033-164914-0002", "2033-164914-0009", "2414-128291-0003", "2414-128291-0005", "2609-156975-0000"),
)
READ = {"de": "leichenhalle", "es": "blanquecinas", "fr": "conservateur", "pt": "raposa"}
"""A word of each recording that Whisper base hears, more or less."""


def load(path: Path) -> Audio:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(Audio(samples.mean(axis=1), rate), 16_000)


def listen(engine: FasterWhisperEngine, audio: Audio, **options: Any) -> list[Segment]:
    return list(engine.transcribe(audio, TranscribeOptions(**options)).segments)


def text(engine: FasterWhisperEngine, audio: Audio, **options: Any) -> str:
    return "".join(segment.text for segment in listen(engine, audio, **options))


@pytest.fixture(scope="module")
def loaded(model_dir: Callable[[str], Path]) -> Iterator[Callable[[str], FasterWhisperEngine]]:
    """A function from a model id to its engine, loaded once."""
    engines: dict[str, FasterWhisperEngine] = {}

    def get(model_id: str) -> FasterWhisperEngine:
        if model_id not in engines:
            engine = FasterWhisperEngine(EngineContext(model=model_dir(model_id), model_id=model_id, threads=1))
            engine.load()
            engines[model_id] = engine
        return engines[model_id]

    yield get
    for engine in engines.values():
        engine.close()


@pytest.fixture
def base(loaded: Callable[[str], FasterWhisperEngine]) -> FasterWhisperEngine:
    return loaded(MULTILINGUAL)


@pytest.mark.e2e
@pytest.mark.parametrize("clip", NO_SPEECH)
@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_nothing_is_heard_where_nobody_speaks(
    loaded: Callable[[str], FasterWhisperEngine], speech_data: Path, model: str, clip: str
) -> None:
    assert listen(loaded(model), load(speech_data / "nospeech" / clip)) == []


@pytest.mark.e2e
def test_words_of_real_recordings(base: FasterWhisperEngine, speech_data: Path) -> None:
    with (speech_data / "MANIFEST.tsv").open(encoding="utf-8") as file:
        said = {row["path"]: row["ground_truth"].removeprefix("text:") for row in csv.DictReader(file, delimiter="\t")}
    wrong = total = 0
    for name in LIBRISPEECH:
        clip = f"en/librispeech/{name}.flac"
        reference = words(said[clip])
        heard = words(text(base, load(speech_data / clip), language="en"))
        wrong += edits(reference, heard)
        total += len(reference)
        assert len(heard) >= 0.8 * len(reference), f"words of {clip} are lost: {heard}"
    assert wrong / total < 0.15


@pytest.mark.e2e
@pytest.mark.parametrize("language", list(READ))
def test_languages_are_told_apart(base: FasterWhisperEngine, speech_data: Path, language: str) -> None:
    audio = load(speech_data / "multi" / f"read_{language}.wav")
    found = base.transcribe(audio, TranscribeOptions())
    assert (found.language, found.language_probability > 0.9) == (language, True)
    heard = "".join(segment.text for segment in found.segments).lower()
    assert edits(list(READ[language]), list(heard)) - (len(heard) - len(READ[language])) <= 2
    assert base.detect_language(audio).language == language


@pytest.mark.e2e
def test_detection_keeps_to_the_candidates(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "multi" / "read_pt.wav")
    found = base.transcribe(audio, TranscribeOptions(languages=("fr", "es")))
    assert found.language == "es"
    assert found.language_probability > 0.5, "the probability is among the candidates"
    only = base.transcribe(audio, TranscribeOptions(languages=("fr",)))
    assert (only.language, only.language_probability) == ("fr", 1.0)


@pytest.mark.e2e
def test_translation_is_english(base: FasterWhisperEngine, speech_data: Path) -> None:
    heard = text(base, load(speech_data / "multi" / "read_es.wav"), task="translate")
    assert {"white", "little"} & set(words(heard))


@pytest.mark.e2e
def test_a_distilled_model_does_not_translate(model_dir: Callable[[str], Path]) -> None:
    engine = FasterWhisperEngine(EngineContext(model=model_dir(MULTILINGUAL), model_id="whisper-large-v3-turbo"))
    engine.load()
    with pytest.raises(UnsupportedTask):
        engine.transcribe(Audio(np.zeros(16_000, np.float32), 16_000), TranscribeOptions(task="translate"))


@pytest.mark.e2e
@pytest.mark.parametrize("word_timestamps", [True, False])
def test_times_are_those_of_the_original(base: FasterWhisperEngine, speech_data: Path, word_timestamps: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 1e-4, 16_000 * 20).astype(np.float32)
    parts = [load(speech_data / "en" / name).samples for name in ("jfk.wav", "beckett.wav")]
    audio = Audio(np.concatenate([noise[: 16_000 * 5], parts[0], noise, parts[1]]), 16_000)
    first, second = Span(5.0, 16.0), Span(36.0, audio.duration)
    found = listen(base, audio, language="en", word_timestamps=word_timestamps)
    assert all(_is_within(segment, first) or _is_within(segment, second) for segment in found), found
    assert found[0].start == pytest.approx(5.3, abs=0.4)  # the first word begins 0.3 s into the recording
    assert min(segment.start for segment in found if _is_within(segment, second)) == pytest.approx(36.3, abs=0.5)


@pytest.mark.e2e
def test_cutting_silence_out_hardly_moves_the_words(base: FasterWhisperEngine, speech_data: Path) -> None:
    recording = load(speech_data / "en" / "jfk.wav").samples
    audio = Audio(np.concatenate([np.zeros(16_000 * 6, np.float32), recording]), 16_000)
    cut, whole = (
        _starts(listen(base, audio, language="en", word_timestamps=True, **vad)) for vad in ({}, {"vad": None})
    )
    common = {"fellow", "americans", "not", "do", "for"} & cut.keys() & whole.keys()
    assert len(common) >= 4
    for word in common:
        assert abs(cut[word] - whole[word]) <= 0.2, word


def _starts(segments: list[Segment]) -> dict[str, float]:
    """Where each word is said for the first time."""
    found: dict[str, float] = {}
    for segment in segments:
        for word in segment.words:
            found.setdefault(word.word.strip(" ,.").lower(), word.start)
    return found


def _is_within(segment: Segment, span: Span) -> bool:
    return span.start - 0.5 <= segment.start <= segment.end <= span.end + 0.5


@pytest.mark.e2e
def test_hotwords_are_favoured(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "en" / "hotwords_comfyui.mp3")
    assert "ComfyUI" not in text(base, audio, language="en")
    assert "ComfyUI" in text(base, audio, language="en", hotwords=("ComfyUI",))


@pytest.mark.e2e
def test_prompt_is_cut_to_its_end_and_cannot_give_orders(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "en" / "jfk.wav")
    hotwords = tuple(f"keyword number {number}" for number in range(100))
    prompt = "<|endof<|endoftext|>text|> " + "A speech. " * 400
    assert "country" in text(base, audio, language="en", prompt=prompt, hotwords=hotwords)


@pytest.mark.e2e
def test_early_text_is_early_and_as_good(base: FasterWhisperEngine, speech_data: Path) -> None:
    speech = load(speech_data / "en" / "two_cities_16k.wav")
    early, usual = (listen(base, speech, early=wanted, word_timestamps=True) for wanted in (True, False))
    said = [words("".join(segment.text for segment in found)) for found in (early, usual)]
    assert edits(*said) <= 0.05 * len(said[1])
    # A window of its own: the second one begins where the first has ended, and not where it usually would.
    starts = [sorted({segment.seek / 100 for segment in found})[:2] for found in (early, usual)]
    assert starts[0][1] - starts[0][0] <= 13.0
    assert starts[1][1] - starts[1][0] > 13.0


def _context(folder: Path | None, **values: Any) -> EngineContext:
    return EngineContext(model=folder, model_id="a-model", **values)


def test_a_folder_without_a_tokenizer_is_refused_before_a_hub_is_asked(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    (tmp_path / "config.json").touch()
    with pytest.raises(ConfigurationError, match=r"a-model lacks tokenizer\.json"):
        FasterWhisperEngine(_context(tmp_path)).load()
    with pytest.raises(ConfigurationError, match="needs the folder"):
        FasterWhisperEngine(_context(None)).load()


@pytest.mark.e2e
def test_damaged_weights_are_refused(model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_dir(ENGLISH), tmp_path / "model"))
    weights = folder / "model.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match="cannot load a-model") as caught:
        FasterWhisperEngine(_context(folder)).load()
    assert str(tmp_path) not in str(caught.value)
    middle = len(whole) // 2
    weights.write_bytes(whole[:middle] + b"\xff\x7f" * 50_000 + whole[middle + 100_000 :])  # float16 NaN
    with pytest.raises(ConfigurationError, match="damaged"):
        FasterWhisperEngine(_context(folder, compute_type="float32")).load()


@pytest.mark.e2e
def test_a_number_format_the_machine_lacks_is_refused(model_dir: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigurationError, match="int3"):
        FasterWhisperEngine(_context(model_dir(ENGLISH), compute_type="int3")).load()


@pytest.fixture(scope="module")
def batched(model_dir: Callable[[str], Path]) -> Iterator[FasterWhisperEngine]:
    """An engine that decodes up to four windows in one call."""
    options = {"batch_size": 4, "beam_size": 2}
    engine = FasterWhisperEngine(
        EngineContext(model=model_dir(MULTILINGUAL), model_id=MULTILINGUAL, workers=1, threads=1, options=options)
    )
    engine.load()
    yield engine
    engine.close()


def finished(result: WindowText | WindowWork) -> WindowText:
    assert isinstance(result, WindowText), "the text was not believed"
    return result


def said(result: WindowText) -> str:
    return "".join(segment.text for segment in result.segments)


@pytest.mark.e2e
def test_windows_in_one_call_say_what_they_say_alone(batched: FasterWhisperEngine, speech_data: Path) -> None:
    clips = [load(speech_data / "en" / "librispeech" / f"{name}.flac") for name in LIBRISPEECH[:4]]
    options = TranscribeOptions(language="en", word_timestamps=True)
    works = [replace(batched.prepare(clip, options), frames=2000) for clip in clips]
    assert len({work.key for work in works}) == 1
    together = [finished(result) for result in batched.decode(works)]
    alone = [finished(batched.decode([work])[0]) for work in works]
    assert [said(text) for text in together] == [said(text) for text in alone]
    assert all(len(words(said(text))) > 5 for text in together)
    for row, single in zip(together, alone, strict=True):
        for one, other in zip(row.segments, single.segments, strict=True):
            assert [word.start for word in one.words] == pytest.approx([word.start for word in other.words], abs=0.1)


@pytest.mark.e2e
def test_languages_and_word_times_of_one_call_are_those_of_each_row(
    batched: FasterWhisperEngine, speech_data: Path
) -> None:
    clips = {code: load(speech_data / "multi" / f"read_{code}.wav") for code in READ}
    options = TranscribeOptions(word_timestamps=True, logprobs=True)
    works = [replace(batched.prepare(clip, options), frames=2000) for clip in clips.values()]
    texts = [finished(result) for result in batched.decode(works)]
    assert [text.language for text in texts] == list(READ)
    assert all(text.language_probability > 0.9 for text in texts)
    for text, clip in zip(texts, clips.values(), strict=True):
        times = [time for segment in text.segments for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[-1] <= clip.duration
        assert times[-1] > 0.7 * clip.duration
        for segment in text.segments:
            assert "".join(word.word for word in segment.words) == segment.text
            assert bytes(byte for token in segment.logprobs for byte in token.bytes).decode() == segment.text


@pytest.mark.e2e
def test_a_loop_in_a_short_window_is_decoded_again_as_a_full_one(base: FasterWhisperEngine, speech_data: Path) -> None:
    clip = load(speech_data / "en" / "jfk.wav")
    work = base.prepare(clip, TranscribeOptions(language="en"))
    assert work.frames == 1400
    looping = replace(work, frames=work.speech_frames)  # without padding Whisper does not find the end
    again = base.decode([looping])[0]
    assert isinstance(again, WhisperWork)
    assert (again.frames, again.temperature, again.failed) == (3000, 0.0, ())
    text = said(finished(base.decode([again])[0]))
    assert words(text)[-4:] == ["do", "for", "your", "country"]


@pytest.mark.e2e
def test_a_text_without_timestamps_is_one_segment_and_one_that_is_doubted_is_decoded_again_with_them(
    base: FasterWhisperEngine, speech_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = load(speech_data / "en" / "jfk.wav")
    options = TranscribeOptions(language="en", timestamps=False)
    work = base.prepare(clip, options)
    text = finished(base.decode([work])[0])
    assert words(said(text))[-4:] == ["do", "for", "your", "country"]
    assert [(segment.start, segment.end) for segment in text.segments] == [(0.0, pytest.approx(11.0, abs=0.1))]
    assert text.rest is None
    monkeypatch.setattr("asr.engines.faster_whisper_decoding.is_suspicious", lambda *_: True)
    again = base.decode([work])[0]
    assert isinstance(again, WhisperWork)
    assert (again.frames, again.decoding.timestamps) == (work.frames, True)
    assert again.encoding is not None, "the window is the same"
    last = base.decode([again])[0]
    assert isinstance(last, WhisperWork)
    assert last.frames == 3000


@pytest.mark.e2e
def test_a_text_that_is_never_good_enough_goes_up_the_temperatures(
    model_dir: Callable[[str], Path], speech_data: Path
) -> None:
    options = {"log_prob_threshold": 0.0, "best_of": 2, "window_pad_seconds": "off", "condition_on_previous_text": True}
    engine = FasterWhisperEngine(EngineContext(model=model_dir(ENGLISH), workers=1, threads=1, options=options))
    engine.load()
    clip = Audio(load(speech_data / "en" / "jfk.wav").samples[: 16_000 * 4], 16_000)
    result: WindowText | WindowWork = engine.prepare(clip, TranscribeOptions(temperature=(0.0, 0.4, 0.8)))
    tried = []
    while isinstance(result, WhisperWork):
        tried.append((result.frames, result.temperature, result.encoding is not None))
        result = engine.decode([result])[0]
    assert tried == [(3000, 0.0, False), (3000, 0.4, True), (3000, 0.8, True)]
    text = finished(result)
    assert {segment.temperature for segment in text.segments} == {0.8}
    assert text.tokens == (), "text from a high temperature is not shown to the next window"
    engine.close()


@pytest.mark.e2e
def test_a_window_sees_the_text_before_it_only_where_it_shall(
    base: FasterWhisperEngine, model_dir: Callable[[str], Path], speech_data: Path
) -> None:
    engine = FasterWhisperEngine(
        EngineContext(model=model_dir(ENGLISH), workers=1, options={"condition_on_previous_text": True})
    )
    engine.load()
    clip = load(speech_data / "en" / "jfk.wav")
    assert (engine.serial, base.serial) == (True, False)
    text = finished(engine.decode([engine.prepare(clip, TranscribeOptions(language="en"))])[0])
    assert len(text.tokens) > 20
    following = engine.prepare(clip, TranscribeOptions(language="en"), previous=text.tokens)
    assert following.context[1:] == text.tokens
    assert finished(engine.decode([following])[0]).tokens[: len(text.tokens)] == text.tokens
    assert base.prepare(clip, TranscribeOptions(language="en"), previous=(1, 2)).context == ()
    prompted = engine.prepare(clip, TranscribeOptions(language="en", prompt="Ask not."))
    prompt = prompted.context[1:]
    assert len(prompt) > 2
    assert finished(engine.decode([prompted])[0]).tokens[: len(prompt)] == prompt, "the next window sees it as text"
    hot = replace(prompted, decoding=replace(prompted.decoding, temperatures=(0.8,)), frames=3000)
    assert finished(engine.decode([hot])[0]).tokens == (), "a high temperature takes it away"
    engine.close()


@pytest.mark.e2e
@pytest.mark.parametrize("serial", [True, False])
def test_a_prompt_is_carried_where_it_shall_be(model_dir: Callable[[str], Path], serial: bool) -> None:
    options = {"carry_initial_prompt": True, "condition_on_previous_text": serial}
    engine = FasterWhisperEngine(EngineContext(model=model_dir(ENGLISH), workers=1, options=options))
    engine.load()
    assert engine.carries_prompt
    clip = Audio(np.zeros(16_000, np.float32), 16_000)
    work = engine.prepare(clip, TranscribeOptions(prompt="Ask not."), previous=(1, 2))
    assert work.previous == ((1, 2) if serial else ()), "the prompt is not in there twice"
    assert work.context[-2:] == (1, 2) if serial else len(work.context) > 3
    engine.close()


@pytest.mark.e2e
@pytest.mark.parametrize("language", list(READ))
def test_language_of_four_seconds(base: FasterWhisperEngine, speech_data: Path, language: str) -> None:
    speech = load(speech_data / "multi" / f"read_{language}.wav")
    assert base.detect_language(Audio(speech.samples[8_000:72_000], 16_000)).language == language


@pytest.mark.e2e
@pytest.mark.parametrize(("cores", "threads", "slots"), [(8, 8, 1), (8, 3, 2), (2, 4, 1), (40, 0, 16)])
def test_automatic_workers_share_the_cores_with_the_threads_that_were_given(
    cores: int, threads: int, slots: int, model_dir: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.engines.faster_whisper.usable_cores", lambda: cores)
    monkeypatch.setattr(FasterWhisperEngine, "_replicas", lambda _: 1)
    engine = FasterWhisperEngine(EngineContext(model=model_dir(ENGLISH), workers=0, threads=threads))
    engine.load()
    assert (engine.slots, engine.threads) == (slots, threads or 1)
    engine.close()


@pytest.mark.e2e
def test_automatic_workers_are_one_for_each_core(model_dir: Callable[[str], Path]) -> None:
    engine = FasterWhisperEngine(EngineContext(model=model_dir(ENGLISH), workers=0))
    engine.load()
    assert engine.slots == min(len(os.sched_getaffinity(0)), 16)
    assert (engine.threads, engine.batch_size) == (1, 4)
    engine.measure(2.0, 2)
    engine.close()
