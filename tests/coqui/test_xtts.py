"""XTTS through the real loader and `inference_stream`, with random weights: streaming, options, limits, not sound."""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigurationError, InvalidRequest, UnsupportedParameter, VoiceNotFound
from tts.engine import TtsEngine
from tts.engines.coqui import CoquiEngine
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Samples

TEXT = "This is a test."
ADA = Voice(id="ada_lovelace", name="Ada Lovelace")
TOKENS_PER_CHUNK = 20
TOKENS_PER_PIECE = 67


def say(engine: TtsEngine, text: str = TEXT, voice: Voice = ADA, **options: object) -> Samples:
    chunks = [chunk.samples for chunk in engine.synthesize(text, voice, SpeechOptions(**options))]  # type: ignore[arg-type]
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.float32)


def test_built_in_speakers_are_voices_once_the_model_is_loaded(xtts: CoquiEngine, xtts_dir: Path) -> None:
    assert [(voice.id, voice.name, voice.language) for voice in xtts.voices()] == [(ADA.id, ADA.name, None)]
    assert CoquiEngine.list_voices(xtts_dir) == []


def test_what_the_loaded_model_can_do(xtts: CoquiEngine) -> None:
    assert xtts.sample_rate == 24_000
    assert xtts.can_clone
    assert {"en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "hu", "ko", "hi"} <= {
        *xtts.languages
    }


def test_chunks_are_finite_in_range_and_heard(xtts: CoquiEngine) -> None:
    chunks = list(xtts.synthesize(TEXT, ADA, SpeechOptions(seed=1)))
    assert len(chunks) == 4
    for chunk in chunks:
        assert chunk.sample_rate == 24_000
        assert chunk.samples.dtype == np.float32
        assert np.isfinite(chunk.samples).all()
        assert 0.01 < np.abs(chunk.samples).max() <= 1


def test_a_chunk_leaves_before_the_next_one_is_generated(xtts: CoquiEngine, tokens: list[None]) -> None:
    stream = iter(xtts.synthesize(TEXT, ADA, SpeechOptions(seed=1)))
    next(stream)
    assert len(tokens) == TOKENS_PER_CHUNK
    next(stream)
    assert len(tokens) == 2 * TOKENS_PER_CHUNK
    assert len(list(stream)) == 2
    assert len(tokens) == TOKENS_PER_PIECE


def test_closing_the_iterator_stops_the_model_and_frees_it(xtts: CoquiEngine, tokens: list[None]) -> None:
    stream = xtts.synthesize(TEXT, ADA, SpeechOptions(seed=1))
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    assert len(tokens) == TOKENS_PER_CHUNK
    assert say(xtts).size


def test_the_sound_is_what_the_library_makes(xtts: CoquiEngine, xtts_dir: Path) -> None:
    """The engine adds nothing to `inference_stream` called with config.json's settings."""
    import torch
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

    config = XttsConfig()
    config.load_json(str(xtts_dir / "config.json"))
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(xtts_dir), eval=True)
    latents = model.speaker_manager.speakers[ADA.name]
    torch.manual_seed(11)
    stream = model.inference_stream(
        TEXT,
        "en",
        latents["gpt_cond_latent"],
        latents["speaker_embedding"],
        stream_chunk_size=20,
        temperature=config.temperature,
        length_penalty=config.length_penalty,
        repetition_penalty=config.repetition_penalty,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    expected = torch.cat(list(stream)).numpy()
    np.testing.assert_allclose(say(xtts, seed=11, language="en"), expected, atol=1e-6)


def test_the_same_seed_gives_the_same_sound(xtts: CoquiEngine) -> None:
    first = say(xtts, seed=7)
    assert np.array_equal(say(xtts, seed=7), first)
    assert not np.array_equal(say(xtts, seed=8), first)


def test_a_request_without_a_seed_does_not_go_on_from_the_last_one(xtts: CoquiEngine) -> None:
    after_seed = []
    for _ in range(2):
        next(iter(xtts.synthesize(TEXT, ADA, SpeechOptions(seed=7))))
        after_seed.append(say(xtts))
    assert not np.array_equal(*after_seed)


def test_temperature_zero_needs_no_seed_to_be_the_same(xtts: CoquiEngine) -> None:
    assert np.array_equal(say(xtts, temperature=0.0), say(xtts, temperature=0.0))


def test_temperature_matters(xtts: CoquiEngine) -> None:
    assert not np.array_equal(say(xtts, seed=7, temperature=0.1), say(xtts, seed=7, temperature=1.9))


@pytest.mark.parametrize(("speed", "ratio"), [(0.5, 2.0), (2.0, 0.5)])
def test_speed_is_the_models_own(xtts: CoquiEngine, speed: float, ratio: float) -> None:
    assert say(xtts, seed=1, speed=speed).size == pytest.approx(ratio * say(xtts, seed=1).size, rel=0.1)


@pytest.mark.parametrize(
    ("options", "param"),
    [({"speed": 2.5}, "speed"), ({"instructions": "whisper"}, "instructions"), ({"language": "sw"}, "language")],
)
def test_what_it_cannot_honour_is_refused(xtts: CoquiEngine, options: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        say(xtts, **options)
    assert caught.value.param == param


@pytest.mark.parametrize("language", ["pt-BR", "EN", "ko"])
def test_a_language_may_have_a_region(xtts: CoquiEngine, language: str) -> None:
    assert next(iter(xtts.synthesize("hoje 3", ADA, SpeechOptions(language=language)))).samples.size


@pytest.mark.parametrize("text", ["", " ", "…", "?!", "😀"])
def test_text_without_letters_makes_no_sound(xtts: CoquiEngine, text: str, tokens: list[None]) -> None:
    assert list(xtts.synthesize(text, ADA, SpeechOptions())) == []
    assert tokens == []


@pytest.mark.parametrize("text", ["${jndi:ldap://x}", "%s%n{0}'; DROP TABLE", "<speak>hi</speak>", "9" * 30, "a\nb\tc"])
def test_hostile_text_does_no_harm(xtts: CoquiEngine, text: str) -> None:
    assert np.isfinite(say(xtts, text)).all()


def test_text_with_more_tokens_than_the_model_reads_is_cut(xtts: CoquiEngine, tokens: list[None]) -> None:
    """240 characters of digits become 600 letters: the library asserts at 402 tokens."""
    assert say(xtts, "9 " * 120).size
    assert len(tokens) >= 2 * TOKENS_PER_PIECE


def test_an_unknown_voice_is_refused(xtts: CoquiEngine) -> None:
    with pytest.raises(VoiceNotFound):
        say(xtts, voice=Voice(id="nobody", name="Nobody"))


def test_a_recording_must_be_prepared_first(xtts: CoquiEngine) -> None:
    with pytest.raises(InvalidRequest, match="not prepared"):
        say(xtts, voice=Voice(id="stranger", name="Stranger", type="cloned"))


@pytest.mark.parametrize(
    "context",
    [
        {"options": {"noise_scale": 0.5}},
        {"compute_type": "int8"},
        {"device": "mps"},
    ],
)
def test_settings_it_cannot_follow_stop_the_load(xtts_dir: Path, load_engine, context: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        load_engine(xtts_dir, **context)


def test_chunk_size_is_an_option(xtts_dir: Path, load_engine, tokens: list[None]) -> None:
    engine = load_engine(xtts_dir, options={"stream_chunk_size": "8"})
    tokens.clear()
    next(iter(engine.synthesize(TEXT, ADA, SpeechOptions())))
    assert len(tokens) == 8


def test_close_twice_is_fine(xtts_dir: Path, load_engine) -> None:
    engine = load_engine(xtts_dir)
    engine.close()
    engine.close()
