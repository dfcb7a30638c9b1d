"""What the faster-whisper engine tells CTranslate2 and makes of its answers, with a model that says what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asr.engine import WindowText, WindowWork
from asr.engines.faster_whisper_decoding import LOOP_TOKENS, Decoder
from asr.engines.faster_whisper_options import FasterWhisperOptions
from asr.engines.faster_whisper_window import WhisperWork
from asr.engines.whisper_family_options import decoding
from asr.transcript import TranscribeOptions

WORDS = ["and", "so", "my", "fellow", "americans", "ask", "not", "what", "your", "country", "can", "do", "for", "you"]
"""A token of these tests is the place of its word here."""
END, START, NO_TIMESTAMPS = 500, 501, 999
TIME = NO_TIMESTAMPS + 1
SAID = tuple(range(12))
LOOP = (*SAID, *SAID[: LOOP_TOKENS - 1])
TEXT = "and so my fellow americans ask not what your country can do"
LOOP_SUM, SAID_SUM = -5.7, -4.2
"""Of the two the loop has the better mean, and the text that ends in time the better sum."""

Found = tuple[tuple[int, ...], float]
"""A hypothesis: its tokens, and the sum of their log-probabilities."""


class Encoding:
    """What CTranslate2's StorageView is to the decoder."""

    def __init__(self, array: npt.NDArray[np.float32]) -> None:
        self.array = array

    @classmethod
    def from_array(cls, array: npt.NDArray[np.float32]) -> Encoding:
        return cls(array)

    @property
    def shape(self) -> list[int]:
        return list(self.array.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.float32]:
        return np.array(self.array, dtype=dtype, copy=copy)


class Tokenizer:
    eot = END
    no_timestamps = NO_TIMESTAMPS
    timestamp_begin = TIME

    def __init__(self, _: object, multilingual: bool, *, task: str, language: str) -> None:
        self.sot_sequence = [START]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {WORDS[token]}" for token in tokens if token < END)


class Model:
    """Both a WhisperModel and the CTranslate2 model in it: hears the same hypotheses in every row, best first."""

    is_multilingual = True
    hf_tokenizer = None

    def __init__(self, *found: Found, length_penalty: float) -> None:
        self.model = self
        self.found = found
        self.length_penalty = length_penalty
        self.encodings: list[Encoding] = []
        self.calls: list[dict[str, Any]] = []

    def encode(self, features: npt.NDArray[np.float32]) -> Encoding:
        self.encodings.append(Encoding(features[:, :4, ::2].transpose(0, 2, 1).copy()))
        return self.encodings[-1]

    def generate(self, encoding: Encoding, prompts: Sequence[list[int]], **options: Any) -> list[Any]:
        self.calls.append({"encoding": encoding, "prompts": prompts, **options})
        found = self.found[: options.get("num_hypotheses", 1)]
        result = SimpleNamespace(
            sequences_ids=[list(tokens) for tokens, _ in found],
            scores=[total / len(tokens) ** self.length_penalty for tokens, total in found],
            no_speech_prob=0.01,
        )
        return [result] * len(prompts)


LIBRARY = SimpleNamespace(
    Tokenizer=Tokenizer, get_suppressed_tokens=lambda *_: (END,), get_compression_ratio=lambda _: 1.1
)


def decoder(*found: Found, on_cpu: bool = True, usual_frames: int = 3000, **options: Any) -> tuple[Decoder, Model]:
    own = FasterWhisperOptions(**options)
    model = Model(*(found or [(SAID, SAID_SUM)]), length_penalty=own.length_penalty)
    return Decoder(LIBRARY, model, own, on_cpu=on_cpu, slots=1, usual_frames=usual_frames), model


def work(frames: int = 900, *, loud: float = 1.0, timestamps: bool = False, beam_size: int = 5) -> WhisperWork:
    """A window of four seconds of speech, for which ten tokens are enough."""
    request = TranscribeOptions(language="en", timestamps=timestamps, beam_size=beam_size)
    how = decoding(FasterWhisperOptions(), request)
    return WhisperWork(features=np.full((80, 400), loud, np.float32), frames=frames, decoding=how, language="en")


def said(result: WindowText | WindowWork) -> str:
    assert isinstance(result, WindowText)
    return "".join(segment.text for segment in result.segments).strip()


def undecided(result: WindowText | WindowWork) -> WhisperWork:
    assert isinstance(result, WhisperWork)
    return result


@pytest.mark.parametrize(
    ("beam", "patience", "hypotheses"), [(5, 1.0, 5), (1, 1.0, 1), (5, 2.0, 5), (5, 0.4, 2), (4, 0.5, 2)]
)
def test_without_timestamps_all_that_the_beam_found_is_asked_for(beam: int, patience: float, hypotheses: int) -> None:
    made, model = decoder(patience=patience)
    made.decode([work(beam_size=beam)])
    (call,) = model.calls
    assert (call["beam_size"], call["patience"], call["num_hypotheses"]) == (beam, patience, hypotheses)
    assert call["prompts"] == [[START, NO_TIMESTAMPS]]


@pytest.mark.parametrize("timestamps", [True, False])
def test_one_finished_beam_is_always_waited_for(timestamps: bool) -> None:
    made, model = decoder(patience=0.1)
    made.decode([work(beam_size=2, timestamps=timestamps)])
    assert model.calls[0]["patience"] == 0.5
    assert model.calls[0].get("num_hypotheses", 1) == 1


def test_with_timestamps_only_the_best_is_asked_for() -> None:
    made, model = decoder()
    made.decode([work(timestamps=True)])
    (call,) = model.calls
    assert (call["beam_size"], call.get("num_hypotheses", 1)) == (5, 1)
    assert call["prompts"] == [[START]]


@pytest.mark.parametrize(("timestamps", "own", "told"), [(False, 0, LOOP_TOKENS), (True, 0, 0), (True, 3, 3)])
def test_only_without_timestamps_loops_are_cut_short_unasked(timestamps: bool, own: int, told: int) -> None:
    made, model = decoder(no_repeat_ngram_size=own)
    made.decode([work(timestamps=timestamps)])
    assert [call["no_repeat_ngram_size"] for call in model.calls] == [told]


@pytest.mark.parametrize("length_penalty", [1.0, 2.0])
def test_of_a_text_that_begins_anew_the_likelier_one_that_ended_is_taken(length_penalty: float) -> None:
    other = ((*SAID[:-1], 13), -4.0)
    made, model = decoder((LOOP, LOOP_SUM), other, (SAID, SAID_SUM), length_penalty=length_penalty)
    (found,) = made.decode([work()])
    assert said(found) == TEXT
    assert isinstance(found, WindowText)
    (segment,) = found.segments
    assert segment.avg_logprob == pytest.approx(SAID_SUM / (len(SAID) + 1)), "its own, and not that of the loop"
    assert len(model.calls) == 1


def test_a_few_words_may_come_twice() -> None:
    again = (*SAID, *SAID[: LOOP_TOKENS - 2])
    made, _ = decoder((again, LOOP_SUM), (SAID, SAID_SUM))
    assert said(made.decode([work()])[0]) == f"{TEXT} and so my fellow americans ask"


@pytest.mark.parametrize("frames", [900, 3000])
@pytest.mark.parametrize(
    "others",
    [
        pytest.param([], id="none"),
        pytest.param([(SAID, LOOP_SUM - 0.4)], id="somebody was heard to speak on"),
        pytest.param([((*SAID[:-1], 13), SAID_SUM)], id="other words"),
        pytest.param([(SAID[:9], SAID_SUM)], id="too short for the time"),
    ],
)
def test_a_text_that_begins_anew_is_decoded_again_with_timestamps(others: list[Found], frames: int) -> None:
    made, model = decoder((LOOP, LOOP_SUM), *others)
    given = work(frames)
    again = undecided(made.decode([given])[0])
    assert again.decoding == replace(given.decoding, timestamps=True)
    assert (again.frames, again.temperature, again.failed) == (frames, 0.0, ())
    assert again.encoding is model.encodings[0]
    model.found = ((SAID, SAID_SUM),)
    assert said(made.decode([again])[0]) == TEXT
    assert len(model.encodings) == 1, "the window is the same"
    first, second = model.calls
    assert second["encoding"] is first["encoding"]
    assert second["prompts"] == [[START]]


def test_on_a_gpu_no_encoding_is_kept() -> None:
    made, model = decoder((LOOP, LOOP_SUM), on_cpu=False)
    found = [undecided(each) for each in made.decode([work(), work(1000)])]
    assert [each.encoding for each in found] == [None, None]
    assert [each.frames for each in found] == [1000, 1000]
    assert [encoding.shape for encoding in model.encodings] == [[2, 500, 4]]


def test_a_kept_encoding_does_not_hold_those_of_the_other_windows() -> None:
    made, model = decoder((LOOP, LOOP_SUM))
    found = [undecided(each) for each in made.decode([work(loud=loud) for loud in (1.0, 2.0, 3.0)])]
    batch = model.calls[0]["encoding"].array
    assert batch.shape == (3, 450, 4)
    for row, each in enumerate(found):
        kept = each.encoding.array
        assert kept.shape == (1, 450, 4)
        assert np.array_equal(kept[0], batch[row])
        assert kept.max() == row + 1
        assert kept.base is None, "a view would keep the whole array"
        assert not np.shares_memory(kept, batch)


def test_many_samples_take_the_room_of_many_windows() -> None:
    hot = TranscribeOptions(language="en", temperature=(1.0,), best_of=20)
    how = decoding(FasterWhisperOptions(), hot)
    assert work(900).length == 900
    assert replace(work(900), decoding=how).length == 20 * 900


@pytest.mark.parametrize(
    ("usual", "frames", "on_cpu", "times"),
    [(2300, 3000, True, 2), (2300, 2300, True, 0), (3000, 3000, True, 0), (2300, 3000, False, 0)],
)
def test_memory_is_made_for_windows_longer_than_most(
    usual: int, frames: int, on_cpu: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr("asr.engines.faster_whisper_decoding.memory.trim", lambda: trimmed.append(len(model.encodings)))
    given, model = decoder(on_cpu=on_cpu, usual_frames=usual)
    given.encode([work(frames)])
    assert trimmed == [0, 1][:times]
