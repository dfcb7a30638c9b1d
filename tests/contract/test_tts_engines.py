"""What every TTS engine must do, asserted the same way over each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engines import EngineContext
from core.errors import UnsupportedParameter, VoiceNotFound
from tests import coqui_checkpoints
from tests.remote_stubs import KEY, Stub, elevenlabs, serving
from tts import engine_factory
from tts.engine import TtsEngine
from tts.voice import Share, SpeechOptions, TimedAudio, Voice
from tts.words import words_of

SENTENCE = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True)
class Case:
    name: str
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    convert: Callable[[Path, Path], None] | None = None
    """What makes the engine's own model of the catalogue's: it is given both folders."""
    exact: bool = True
    """Whether the same input gives the same samples; else only the same length."""
    unsupported: tuple[dict[str, Any], ...] = ()
    serve: str | None = None
    """The fixture of the server that the engine asks."""
    write: Callable[[Path], Path] | None = None
    """What writes a tiny model with random weights into a folder, where there are no real ones: how long something
    takes means nothing then."""


NOTHING_EXTRA = ({"seed": 1}, {"temperature": 0.5}, {"instructions": "whisper"}, {"language": "xx"})
SHERPA = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed"),
]


COQUI = [
    pytest.mark.coqui,
    pytest.mark.skipif(find_spec("TTS") is None, reason="Coqui (TTS) is not installed: run make test-extras"),
]


def sherpa(model: Path, folder: Path) -> None:
    """Write the same weights as sherpa-onnx opens them."""
    from scripts.convert_voice import convert  # noqa: PLC0415 - where it is needed

    convert(model, folder)


def gguf(model: Path, folder: Path) -> None:
    """Write the same weights as CrispASR opens them."""
    from scripts.voice_gguf import convert  # noqa: PLC0415 - where it is needed

    convert(model, folder / "voice.gguf", noise_w=0.0)


CASES = [
    # Another instance of our service with the fake engine, and a stub of the API of elevenlabs.io.
    pytest.param(Case("openai", None, {"extended": True}, serve="fake_tts"), id="openai", marks=pytest.mark.e2e),
    pytest.param(
        Case(
            "elevenlabs",
            None,
            {"api_key": KEY},
            unsupported=({"temperature": 0.5}, {"instructions": "whisper"}),
            serve="elevenlabs_server",
        ),
        id="elevenlabs",
    ),
    pytest.param(Case("fake"), id="fake"),
    pytest.param(Case("kokoro", "kokoro-82m-int8", unsupported=NOTHING_EXTRA), id="kokoro", marks=pytest.mark.e2e),
    pytest.param(
        # Piper's rhythm is random; without that its lengths, though not its samples, are the same every time.
        Case("piper", "piper-en_US-joe-medium", {"noise_w_scale": 0.0}, exact=False, unsupported=NOTHING_EXTRA),
        id="piper",
        marks=[pytest.mark.e2e, pytest.mark.skipif(find_spec("piper") is None, reason="piper-tts is not installed")],
    ),
    pytest.param(Case("coqui", write=coqui_checkpoints.write_vits, exact=False), id="coqui-vits", marks=COQUI),
    pytest.param(Case("coqui", write=coqui_checkpoints.write_xtts), id="coqui-xtts", marks=COQUI),
    pytest.param(
        Case(
            "sherpa-onnx",
            "piper-en_US-joe-medium",
            {"noise_w_scale": 0.0},
            convert=sherpa,
            exact=False,
            unsupported=NOTHING_EXTRA,
        ),
        id="sherpa-onnx-piper",
        marks=SHERPA,
    ),
    pytest.param(
        Case("sherpa-onnx", "kokoro-82m-int8", convert=sherpa, unsupported=NOTHING_EXTRA),
        id="sherpa-onnx-kokoro",
        marks=[*SHERPA, pytest.mark.slow],
    ),
    pytest.param(
        Case("crispasr", "piper-en_US-joe-medium", convert=gguf, exact=False, unsupported=NOTHING_EXTRA),
        id="crispasr-piper",
        marks=[pytest.mark.e2e, pytest.mark.skipif(find_spec("crispasr") is None, reason="crispasr is not installed")],
    ),
]


@pytest.fixture(scope="module")
def elevenlabs_server() -> Iterator[Stub]:
    """What speaks the API of elevenlabs.io."""
    with serving(elevenlabs) as stub:
        yield stub


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def make(
    case: Case,
    model_dir: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[], TtsEngine]:
    """A function that makes an engine of the case, not loaded."""
    folder = model_dir(case.model) if case.model else None
    if case.write:
        folder = case.write(tmp_path_factory.mktemp("written"))
    if folder and case.convert:
        source, folder = folder, tmp_path_factory.mktemp("converted")
        case.convert(source, folder)
    options = case.options | ({"url": request.getfixturevalue(case.serve).url} if case.serve else {})
    context = EngineContext(model=folder, model_id=case.model or "", threads=1, options=options)
    return lambda: engine_factory.registry().get(case.name)(context)


@pytest.fixture(scope="module")
def engine(make: Callable[[], TtsEngine]) -> Iterator[TtsEngine]:
    loaded = make()
    loaded.load()
    yield loaded
    loaded.close()


def speak(engine: TtsEngine, text: str, **options: Any) -> np.ndarray:
    chunks = list(engine.synthesize(text, engine.voices()[0], SpeechOptions(**options)))
    return np.concatenate([chunk.samples for chunk in chunks] or [np.zeros(0, np.float32)])


def test_every_engine_of_ours_has_a_case() -> None:
    assert {param.values[0].name for param in CASES} == set(engine_factory.TABLE)


def skip_random_lengths(case: Case) -> None:
    if case.write:
        pytest.skip("random weights: how long a text takes means nothing")


def test_chunks_are_audible_float32_at_the_sample_rate(engine: TtsEngine, case: Case) -> None:
    chunks = list(engine.synthesize(SENTENCE, engine.voices()[0], SpeechOptions()))
    assert chunks
    for chunk in chunks:
        assert chunk.sample_rate == engine.sample_rate
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert np.isfinite(chunk.samples).all()
        assert np.abs(chunk.samples).max() <= 1.0
    parts = [chunk.samples for chunk in chunks]
    # Where the network cuts the sound of a server, a part may be a few samples of a pause.
    for part in [np.concatenate(parts)] if case.serve else parts:
        assert np.sqrt(np.mean(part**2)) > 0.005
    assert case.write or 1.0 < sum(chunk.duration for chunk in chunks) < 8.0


def test_the_same_text_sounds_the_same(engine: TtsEngine, case: Case) -> None:
    skip_random_lengths(case)
    first, second = speak(engine, "Say it again."), speak(engine, "Say it again.")
    assert len(first) == len(second)
    if case.exact:
        assert np.array_equal(first, second)


def test_longer_text_takes_longer(engine: TtsEngine, case: Case) -> None:
    skip_random_lengths(case)
    assert len(speak(engine, "One two three four five six seven.")) > 1.5 * len(speak(engine, "One."))


def test_both_ends_of_the_speed_range(engine: TtsEngine) -> None:
    low, high = engine.speed_range
    if low == high:
        pytest.skip("this engine has no speed of its own")
    slow, fast = speak(engine, "One two three.", speed=low), speak(engine, "One two three.", speed=high)
    assert len(slow) > len(fast) > 0


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "\n"])
def test_nothing_to_say_is_no_error(engine: TtsEngine, text: str) -> None:
    made = speak(engine, text)
    assert made.size == 0 or np.isfinite(made).all()


def test_a_piece_of_max_chars(engine: TtsEngine, case: Case) -> None:
    text = ("word " * engine.max_chars)[: engine.max_chars - 1] + "."
    assert len(speak(engine, text)) > (0 if case.write else 5 * engine.sample_rate)


def test_hostile_text_does_no_harm(engine: TtsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that no long path is spoken
    for text in ("Hi $(touch made)", "`touch made`", '"; touch made; echo "'):
        assert np.isfinite(speak(engine, text)).all()
    assert list(tmp_path.iterdir()) == []
    for text in ("${jndi:ldap://x}", "%s%n{0}'; DROP TABLE", "<speak>hi</speak>", "99999999999999999999", "a\nb\tc"):
        assert np.isfinite(speak(engine, text)).all()


def test_closing_early_leaves_the_engine_usable(engine: TtsEngine, case: Case) -> None:
    before = speak(engine, "Still here.")
    chunks = engine.synthesize(f"{SENTENCE} {SENTENCE}", engine.voices()[0], SpeechOptions())
    assert next(chunks).samples.size
    chunks.close()  # type: ignore[attr-defined]
    assert next(chunks, None) is None
    after = speak(engine, "Still here.")
    assert len(after) == len(before) or (case.write and after.size)


def test_words_are_told_in_order_within_the_sound(engine: TtsEngine) -> None:
    if not engine.times_words:
        pytest.skip("this engine does not time words")
    text = f"{SENTENCE} In 1984, it did too."
    chunks = list(engine.synthesize(text, engine.voices()[0], SpeechOptions(timestamps=True)))
    assert [word.word for chunk in chunks for word in chunk.words] == words_of(text)  # type: ignore[attr-defined]
    edges = [0.0]
    before = 0.0
    for chunk in chunks:
        assert isinstance(chunk, TimedAudio)
        edges += [before + edge for word in chunk.words for edge in (word.start, word.end)]
        before += chunk.duration
    assert edges == sorted(edges)
    assert before / 2 < edges[-1] <= before


def test_a_mix_of_voices_is_none_of_them(engine: TtsEngine) -> None:
    if not engine.can_mix:
        pytest.skip("this engine does not mix voices")
    one, two, *_ = engine.voices()
    mix = (Share(id=one.id, weight=0.5), Share(id=two.id, weight=0.5))
    mixed = Voice(id="mix", name="mix", language=one.language, mix=mix)
    sounds = [
        np.concatenate([chunk.samples for chunk in engine.synthesize(SENTENCE, voice, SpeechOptions(language="en"))])
        for voice in (one, two, mixed)
    ]
    assert not any(np.array_equal(sounds[2], sound) for sound in sounds[:2])
    unknown = Voice(id="mix", name="mix", mix=(Share(id="nobody", weight=1.0),))
    with pytest.raises(VoiceNotFound):
        list(engine.synthesize(SENTENCE, unknown, SpeechOptions()))


def test_unsupported_options_are_refused(engine: TtsEngine, case: Case) -> None:
    for options in case.unsupported:
        with pytest.raises(UnsupportedParameter) as caught:
            speak(engine, "Hello.", **options)
        assert caught.value.param == next(iter(options))


def test_an_unknown_voice_is_refused(engine: TtsEngine) -> None:
    for name in ("nobody", "../../etc/passwd", ""):
        with pytest.raises(VoiceNotFound):
            list(engine.synthesize("Hello.", Voice(id=name, name=name), SpeechOptions()))


def test_voices_are_the_same_before_and_after_load(engine: TtsEngine) -> None:
    # Those of a server are known once it is asked.
    listed = type(engine).list_voices(engine.context.model or Path()) or engine.voices()
    assert list(listed) == list(engine.voices())
    ids = [voice.id for voice in listed]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(voice.name and voice.type == "builtin" for voice in listed)


def test_voices_speak_languages_of_the_engine(engine: TtsEngine) -> None:
    for voice in engine.voices():
        # A voice without a language speaks any that the model has.
        assert voice.language is not None or engine.context.model is None or len(engine.languages) > 1
        assert voice.language is None or voice.language.partition("-")[0] in engine.languages


def test_close_twice(make: Callable[[], TtsEngine]) -> None:
    one = make()
    one.close()
    one.load()
    one.close()
    one.close()
