"""What the faster-whisper engine is made of, without a model: lengths, prompts, the guard, cutting, word times."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from asr.engines.faster_whisper_guard import (
    Attempt,
    best,
    is_acceptable,
    is_silence,
    is_speech,
    is_suspicious,
    once,
    repeats,
    says_twice,
)
from asr.engines.faster_whisper_options import FasterWhisperOptions
from asr.engines.faster_whisper_prompt import CONTEXT_TOKENS, Prompts, plain
from asr.engines.faster_whisper_scores import token_logprobs
from asr.engines.faster_whisper_segments import cut, placed
from asr.engines.faster_whisper_window import (
    WhisperWork,
    max_length,
    of_one_length,
    padded_frames,
    stacked,
    text_limit,
)
from asr.engines.log_mel import log_mel
from asr.engines.whisper_family_options import decoding
from asr.transcript import Segment, TranscribeOptions, Word

TIME = 1000
"""The token of second 0 in these tests; text has lower ones."""
GOOD = Attempt(
    tokens=(TIME, 1, 2, 3, TIME + 100),
    text="one two three",
    said=3,
    last_time=2.0,
    avg_logprob=-0.3,
    compression_ratio=1.1,
    no_speech_prob=0.05,
    temperature=0.0,
)


def at(seconds: float) -> int:
    return TIME + round(seconds / 0.02)


def work(frames: int = 900, **values: Any) -> WhisperWork:
    how = decoding(FasterWhisperOptions(), TranscribeOptions(**values.pop("options", {})))
    return WhisperWork(features=np.ones((80, frames - 500), np.float32), frames=frames, decoding=how, **values)


@pytest.mark.parametrize(
    ("speech", "pad", "frames"),
    [
        (1, 5.0, 600),
        (300, 5.0, 800),
        (301, 5.0, 900),
        (2400, 5.0, 2900),
        (2600, 5.0, 3000),
        (3000, 5.0, 3000),
        (300, None, 3000),
    ],
)
def test_a_window_is_as_long_as_its_speech_and_padding(speech: int, pad: float | None, frames: int) -> None:
    assert padded_frames(speech, pad) == frames


def test_padding_can_be_switched_off() -> None:
    assert FasterWhisperOptions.model_validate({"window_pad_seconds": "off"}).window_pad_seconds is None
    assert FasterWhisperOptions.model_validate({"window_pad_seconds": "6"}).window_pad_seconds == 6
    with pytest.raises(ValidationError):
        FasterWhisperOptions.model_validate({"window_pad_seconds": "1"})


def test_limit_of_the_text_grows_with_the_window_up_to_that_of_whisper() -> None:
    limits = [text_limit(work(frames)) for frames in range(501, 3001, 100)] + [text_limit(work(3000))]
    assert limits == sorted(limits)
    assert limits[0] >= 60  # fast speech has five tokens per second, and half a second of it is in such a window
    assert limits[-1] == 224
    assert max_length(224, 0) == max_length(224 - 4, 224) == 448
    for frames, before in ((800, 0), (800, 200), (2000, 100)):
        limit = text_limit(work(frames, context=(1,) * before))
        told = max_length(limit, before)
        assert min(told // 2, told - before - 4) >= limit, "CTranslate2 stops before the limit"


def test_a_text_without_timestamps_is_stopped_sooner() -> None:
    timed, untimed = work(1500), work(1500, options={"timestamps": False})
    assert not untimed.decoding.timestamps
    assert 10 * 6 < text_limit(untimed) < text_limit(timed)
    assert text_limit(replace(untimed, frames=3000)) == text_limit(untimed)
    assert work(options={"timestamps": False, "word_timestamps": True}).decoding.timestamps


def test_only_what_one_call_can_decode_has_one_key() -> None:
    same = work().key
    assert work(language="de", task="translate").key == work(language="en").key == same
    assert work(1000).key == same
    assert work(1000).length == 1000
    assert replace(work(), frames=3000).length == 3000
    assert work(context=(1, 2)).key != same
    assert work(context=(1, 2)).key == work(context=(3, 4)).key
    assert work(options={"beam_size": 2}).key != same
    assert work(options={"timestamps": False}).key != same
    assert replace(work(), step=1).key != same
    german, english = (work(language=code, options={"word_timestamps": True}).key for code in ("de", "en"))
    assert german != english


def test_windows_of_a_call_are_as_long_as_the_longest() -> None:
    short, long = work(900), work(1100)
    assert [each.frames for each in of_one_length([short, long])] == [1100, 1100]
    assert of_one_length([short, short]) == [short, short]


def test_an_encoding_is_kept_as_long_as_its_window_is() -> None:
    encoded = work(900, encoding=object())
    assert of_one_length([encoded, work(900)])[0].encoding is encoded.encoding
    assert of_one_length([encoded, work(1100)])[0].encoding is None


def test_speech_is_followed_by_zeros() -> None:
    features = stacked([work(), replace(work(), features=np.full((80, 10), 2, np.float32))])
    assert features.shape == (2, 80, 900)
    assert features[0, :, :400].min() == features[0].max() == 1
    assert features[0, :, 400:].max() == features[1, :, 10:].max() == 0
    assert features[1, :, :10].min() == 2


def test_commands_are_taken_out_of_prompts() -> None:
    assert plain(" <|endoftext|>Hello<|0.00|> <|en<|nospeech|>|>world ") == "Hello world"
    assert plain("a < b | c > d") == "a < b | c > d"


def test_context_leaves_room_for_the_text() -> None:
    letters = SimpleNamespace(encode=lambda text: [ord(letter) for letter in text], sot_prev=ord("^"))

    def shown(previous: str = "", **options: Any) -> str:
        tokens = Prompts(letters).context(TranscribeOptions(**options), tuple(map(ord, previous)))
        return "".join(map(chr, tokens))

    assert shown() == shown(prompt=" ", hotwords=(" ",)) == ""
    assert shown(prompt="x" * 300 + "end") == "^" + "x" * (CONTEXT_TOKENS - 3) + "end"
    assert shown(" before", prompt="Prompt") == "^ Prompt before"
    assert shown(hotwords=("Ada", " ", "Grace")) == "^ Ada, Grace"
    assert shown(prompt="y" * 300, hotwords=("Ada",)) == "^ Ada" + "y" * (CONTEXT_TOKENS - len(" Ada"))
    many = shown(prompt="y" * 300, hotwords=("a" * 100, "b" * 100, "c" * 100))
    assert many == "^ " + "a" * 100 + ", " + "b" * 100 + "y" * (CONTEXT_TOKENS - 203)
    assert shown(prompt="prompt", hotwords=("a" * (CONTEXT_TOKENS - 1),)) == "^ " + "a" * (CONTEXT_TOKENS - 1)


def test_a_prompt_that_is_carried_is_not_pushed_out_by_the_text_before() -> None:
    letters = SimpleNamespace(encode=lambda text: [ord(letter) for letter in text], sot_prev=ord("^"))
    shown = Prompts(letters).context(TranscribeOptions(prompt="Ada"), (ord("b"),) * 300)
    assert "".join(map(chr, shown)) == "^ Ada" + "b" * (CONTEXT_TOKENS - len(" Ada"))


def test_prompt_and_hotwords_are_tokenised_once_for_all_windows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    encoded: list[str] = []

    def encode(text: str) -> list[int]:
        encoded.append(text)
        return list(range(len(text)))

    prompts = Prompts(SimpleNamespace(encode=encode, sot_prev=0))
    options = TranscribeOptions(prompt="Ada", hotwords=("a" * 200, "b" * 200))
    first = prompts.context(options)
    count = len(encoded)
    assert count == 3
    assert all(prompts.context(options, (7,) * each)[: len(first)] == first for each in range(5))
    assert len(encoded) == count
    assert [record.message for record in caplog.records] == ["only the first 1 of 2 hotwords fit the model's context"]


@pytest.mark.parametrize(
    ("change", "suspicious"),
    [
        ({}, False),
        ({"avg_logprob": -0.85}, False),
        ({"avg_logprob": -0.95}, True),
        ({"compression_ratio": 2.1}, True),
        ({"no_speech_prob": 0.7}, True),
        ({"tokens": (1,) * 60}, True),
        ({"tokens": (1,) * 55}, False),
        ({"tokens": (1,) * 58}, True),
        ({"last_time": 3.9}, False),
        ({"last_time": 4.1}, True),
        ({"text": "one two three one two three"}, True),
    ],
)
def test_a_text_of_a_short_window_is_doubted(change: dict[str, Any], suspicious: bool) -> None:
    assert is_suspicious(replace(GOOD, **change), 2.0, 60, FasterWhisperOptions()) is suspicious


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("And just now, and just now.", True),
        ("I say: what has happened to me what has happened to me", True),
        ("He he he he", True),
        ("12 12 12", True),
        ("これはこれは", False),  # a word, and said so
        ("これはペンですこれはペンです", True),
        ("No, no.", False),
        ("1000", False),
        ("and just now and then", False),
        ("", False),
    ],
)
def test_a_phrase_that_ends_a_text_twice_is_noticed(text: str, repeated: bool) -> None:
    assert repeats(text) is repeated


@pytest.mark.parametrize(
    ("said", "seconds", "suspicious"),
    [(3, 2.9, False), (3, 3.1, True), (10, 6.0, False), (10, 6.5, True), (1, 2.0, False)],
)
def test_little_text_for_much_speech_is_doubted(said: int, seconds: float, suspicious: bool) -> None:
    attempt = replace(GOOD, said=said)
    assert is_suspicious(attempt, seconds, 60, FasterWhisperOptions()) is suspicious


def test_of_a_text_that_begins_anew_the_beam_that_ended_is_taken() -> None:
    loop, other, ended = ((1, 2, 3, 1, 2, 3, 4), -10.4), ((1, 2, 3, 1, 2, 4, 5), -10.1), ((1, 2, 3), -7.5)
    assert once([loop, other, ended], 3, 1.0) == ended
    assert once([loop, ((1, 2, 9), -7.0)], 3, 1.0) == loop, "other words"
    assert once([loop, ((1, 2, 3), -12.0)], 3, 1.0) == loop, "somebody was heard to speak on"
    assert once([loop, ended], 3, 1.5) == loop, "there was time to say it twice"
    assert once([((1, 2, 3, 4), -9.0), ended], 3, 1.0) == ((1, 2, 3, 4), -9.0), "nothing is repeated"


def test_tokens_that_come_twice_are_noticed() -> None:
    assert says_twice([9, 1, 2, 3, 4, 1, 2, 3], 3)
    assert says_twice([1, 1, 1, 1], 3)
    assert not says_twice([1, 2, 3, 4, 1, 2], 3)
    assert not says_twice([1], 3)


def test_whispers_own_rules_decide_about_full_windows() -> None:
    options = FasterWhisperOptions()
    loop, unsure = replace(GOOD, compression_ratio=2.5, avg_logprob=-0.1), replace(GOOD, avg_logprob=-1.1)
    silent = replace(unsure, no_speech_prob=0.7)
    assert [is_acceptable(each, options) for each in (GOOD, loop, unsure, silent)] == [True, False, False, True]
    assert [is_silence(each, options) for each in (unsure, silent, replace(GOOD, no_speech_prob=0.7))] == [
        False,
        True,
        False,
    ]
    made_up = replace(loop, no_speech_prob=0.7)
    assert is_silence(made_up, options), "a loop over what is hardly speech is not tried again"
    assert is_acceptable(made_up, options)
    assert not is_silence(loop, options)
    unsurer = replace(GOOD, avg_logprob=-2.0)
    assert best([loop, unsurer, unsure], options) is unsure
    assert best([replace(loop, avg_logprob=-0.5), loop], options) is loop
    lenient = FasterWhisperOptions(compression_ratio_threshold=None, log_prob_threshold=None)
    assert is_acceptable(loop, lenient)
    assert is_acceptable(unsure, lenient)


@pytest.mark.parametrize(
    ("tokens", "cuts", "rest"),
    [
        ([1, 2], [(0.0, 9.0, 2)], None),
        ([at(0), 1, 2], [(0.0, 9.0, 3)], None),
        ([at(0), 1, 2, at(4)], [(0.0, 4.0, 4)], None),
        ([at(0), 1, at(4), at(5), 2, at(7)], [(0.0, 4.0, 3), (5.0, 7.0, 3)], None),
        ([at(0), 1, at(4), at(4)], [(0.0, 4.0, 3)], 4.0),
        ([at(0), 1, at(4), at(4), 2, 3], [(0.0, 4.0, 3)], 4.0),
        ([at(0), 1, at(8.5), at(8.5), 2, 3], [(0.0, 8.5, 3), (8.5, 9.0, 3)], None),
        ([at(0), 1, at(0.8), at(0.8)], [(0.0, 0.8, 3)], 0.8),
        ([at(0), 1, at(0.8), at(0.8), 2, 3], [(0.0, 0.8, 3)], 0.8),
        ([at(0), 1, at(0.02), at(0.02), 2, 3], [(0.0, 0.02, 3)], 0.2),
        ([at(0), 1, at(9.5), at(9.5), 2], [(0.0, 9.5, 3), (9.5, 9.52, 2)], None),
        ([], [(0.0, 9.0, 0)], None),
    ],
)
def test_a_text_is_cut_at_its_timestamps(
    tokens: list[int], cuts: list[tuple[float, float, int]], rest: float | None
) -> None:
    found, left = cut(tokens, TIME, 9.0)
    assert [(round(part.start, 3), round(part.end, 3), len(part.tokens)) for part in found] == cuts
    assert left == (None if rest is None else pytest.approx(rest))
    if rest is None:
        assert [token for part in found for token in part.tokens] == tokens, "no text is lost"


def segment(**values: Any) -> Segment:
    return Segment(**{"start": 0.0, "end": 1.0, "text": " Hello there.", "avg_logprob": -0.2, **values})


@pytest.mark.parametrize(
    ("measures", "spoken"),
    [
        ({}, True),
        ({"no_speech_prob": 0.9, "avg_logprob": -0.3}, True),
        ({"no_speech_prob": 0.5, "avg_logprob": -1.2}, True),
        ({"no_speech_prob": 0.85, "avg_logprob": -0.93}, False),
        ({"text": " ..."}, False),
        ({"text": " "}, False),
        ({"text": "はい。"}, True),
    ],
)
def test_doubtful_text_is_not_speech(measures: dict[str, Any], spoken: bool) -> None:
    assert is_speech(segment(**measures), FasterWhisperOptions()) is spoken


@pytest.mark.parametrize("words", [(), (Word(" Hello", 0.0, 0.5),)])
def test_text_that_could_not_be_aligned_keeps_all_its_words(words: tuple[Word, ...]) -> None:
    found = placed(segment(words=words), 0.9, aligned=True, words=True)
    assert [word.word for word in found.words] == [" Hello", " there."]
    assert (found.start, found.end, found.words[-1].end) == (0.0, 0.9, 0.9)


def test_times_stay_inside_the_window() -> None:
    words = (Word(" Hello", 0.2, 0.5), Word(" there.", 0.5, 1.4))
    found = placed(segment(start=0.1, end=1.5, words=words), 1.2, aligned=True, words=True)
    assert (found.start, found.end, found.words[-1].end) == (0.2, 1.2, 1.2)
    assert placed(segment(words=words), 1.2, aligned=True, words=False).words == ()
    assert placed(segment(start=1.3, end=1.5), 1.2, aligned=False, words=False).end == 1.2


def test_scores_are_those_of_bytes() -> None:
    vocabulary = SimpleNamespace(id_to_token=["Ġa", "b", "Ã", "¤"].__getitem__)
    scores = token_logprobs(vocabulary, [0, 1, 2, 3], [0.5, 0.25, 0.0, 1.0])
    assert [(score.token, round(math.exp(score.logprob), 3)) for score in scores[:2]] == [(" a", 0.5), ("b", 0.25)]
    assert bytes(byte for score in scores[2:] for byte in score.bytes).decode() == "ä"
    assert math.isfinite(scores[2].logprob)


def test_features_are_those_of_the_library() -> None:
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    for seconds in (0.01, 1.0, 12.345, 30.0):
        samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
        wanted = extractor(samples)
        features = log_mel(extractor, samples)
        assert features.shape == wanted.shape
        assert features.dtype == np.float32
        assert np.abs(features - wanted).max() < 1e-5
