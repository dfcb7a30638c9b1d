"""Voices from recordings, and their latents: computed once per recording and model, kept on disk under their hashes."""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidAudio, InvalidRequest
from tts import traces
from tts.engines.coqui import CoquiEngine
from tts.reference import References
from tts.voice import SpeechOptions, Voice
from utils.audio import wav
from utils.audio.pcm import Audio, Samples

Load = Callable[..., CoquiEngine]
TEXT = "This is a test."


def recording(seed: int, *, seconds: float = 4.0, sample_rate: int = 16_000) -> Audio:
    """Noise that stands for a recording; every seed is another speaker."""
    generator = np.random.default_rng(seed)
    samples = generator.normal(scale=0.1, size=int(seconds * sample_rate)).clip(-1, 1)
    return Audio(samples.astype(np.float32), sample_rate)


def cloned(name: str) -> Voice:
    return Voice(id=name, name=name, type="cloned")


def say(engine: CoquiEngine, voice: Voice) -> Samples:
    """The first chunk of a sentence, greedily, so that only the voice makes a difference."""
    return next(iter(engine.synthesize(TEXT, voice, SpeechOptions(temperature=0)))).samples


def test_two_recordings_are_two_voices(xtts: CoquiEngine) -> None:
    for name, seed in (("one", 1), ("two", 2), ("again", 1)):
        xtts.clone(cloned(name), recording(seed))
    assert np.array_equal(say(xtts, cloned("one")), say(xtts, cloned("again")))
    assert not np.array_equal(say(xtts, cloned("one")), say(xtts, cloned("two")))


def test_a_new_recording_under_an_old_name_is_heard(xtts: CoquiEngine) -> None:
    xtts.clone(cloned("changing"), recording(1))
    before = say(xtts, cloned("changing"))
    xtts.clone(cloned("changing"), recording(2))
    assert not np.array_equal(say(xtts, cloned("changing")), before)


def test_latents_are_those_of_the_library(
    xtts: CoquiEngine, xtts_dir: Path, load_engine: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`get_conditioning_latents` reads a file through torchcodec, which is replaced; the rest is the library's."""
    import torch
    import torchaudio
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

    reference = recording(3, seconds=8)
    load_engine(xtts_dir, cache=tmp_path).clone(cloned("voice"), reference)
    config = XttsConfig()
    config.load_json(str(xtts_dir / "config.json"))
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(xtts_dir), eval=True)
    monkeypatch.setattr(
        torchaudio, "load", lambda _: (torch.from_numpy(reference.samples)[None], reference.sample_rate)
    )
    gpt, speaker = model.get_conditioning_latents(
        "reference.wav",
        max_ref_length=config.max_ref_len,
        gpt_cond_len=config.gpt_cond_len,
        gpt_cond_chunk_len=config.gpt_cond_chunk_len,
        sound_norm_refs=config.sound_norm_refs,
    )
    with np.load(stored(tmp_path)) as kept:
        np.testing.assert_allclose(kept["gpt"], gpt.numpy(), atol=1e-5)
        np.testing.assert_allclose(kept["speaker"], speaker.numpy(), atol=1e-5)


def stored(cache: Path) -> Path:
    """The one file of latents in the cache."""
    (path,) = cache.rglob("*.npz")
    return path


def test_latents_go_with_their_voice(xtts_dir: Path, load_engine: Load, tmp_path: Path) -> None:
    reference = recording(1, sample_rate=24_000)
    path = tmp_path / "voice.wav"
    path.write_bytes(wav.header(24_000, frames=len(reference.samples)) + reference.to_s16())
    voice = Voice(id="voice", name="voice", type="cloned", sample=path)
    engine, references, cache = load_engine(xtts_dir, cache=tmp_path / "cache"), References(), tmp_path / "cache"
    with references.using(engine, voice) as prepare:
        prepare()
        say(engine, voice)
    assert stored(cache).exists()
    references.forget(engine, voice)
    traces.remove(cache, traces.hash_of(voice))
    assert list(cache.rglob("*.npz")) == []
    with pytest.raises(InvalidRequest):
        say(engine, voice)


def test_latents_outlive_the_engine_and_are_not_computed_again(
    xtts_dir: Path, load_engine: Load, tmp_path: Path
) -> None:
    """Latents planted under the recording's hash are what the next engine speaks with: it read them."""
    first = load_engine(xtts_dir, cache=tmp_path)
    first.clone(cloned("voice"), recording(1))
    written = stored(tmp_path).stat().st_mtime_ns
    original = say(first, cloned("voice"))

    second = load_engine(xtts_dir, cache=tmp_path)
    second.clone(cloned("other-name"), recording(1))
    assert np.array_equal(say(second, cloned("other-name")), original)
    assert stored(tmp_path).stat().st_mtime_ns == written

    with np.load(stored(tmp_path)) as kept:
        planted = {"gpt": kept["gpt"] + 1, "speaker": -kept["speaker"]}
    np.savez(stored(tmp_path), **planted)
    third = load_engine(xtts_dir, cache=tmp_path)
    third.clone(cloned("voice"), recording(1))
    assert not np.array_equal(say(third, cloned("voice")), original)


def test_another_recording_and_another_model_have_their_own(load_engine: Load, xtts_dir: Path, tmp_path: Path) -> None:
    import torch

    engine = load_engine(xtts_dir, cache=tmp_path / "cache")
    engine.clone(cloned("a"), recording(1))
    engine.clone(cloned("b"), recording(2))
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2

    other = tmp_path / "other-model"
    other.mkdir()
    for name in ("config.json", "vocab.json", "speakers_xtts.pth"):
        (other / name).write_bytes((xtts_dir / name).read_bytes())
    checkpoint = torch.load(xtts_dir / "model.pth", weights_only=True)
    checkpoint["model"]["mel_stats"] = checkpoint["model"]["mel_stats"] * 2
    torch.save(checkpoint, other / "model.pth")
    load_engine(other, cache=tmp_path / "cache").clone(cloned("a"), recording(1))
    names = sorted(path.name for path in (tmp_path / "cache").rglob("*.npz"))
    assert len(names) == 3
    assert len({name.split("-")[0] for name in names}) == 2


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip"])
def test_damaged_latents_are_computed_again(
    damage: bytes, xtts_dir: Path, load_engine: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_engine(xtts_dir, cache=tmp_path)
    first.clone(cloned("voice"), recording(1))
    stored(tmp_path).write_bytes(damage)
    second = load_engine(xtts_dir, cache=tmp_path)
    second.clone(cloned("voice"), recording(1))
    assert "damaged" in caplog.text
    assert np.array_equal(say(second, cloned("voice")), say(first, cloned("voice")))
    assert stored(tmp_path).stat().st_size > len(damage)


def test_a_read_only_cache_costs_nothing_but_the_cache(xtts_dir: Path, load_engine: Load, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = load_engine(xtts_dir, cache=tmp_path / "file")
    engine.clone(cloned("voice"), recording(1))
    assert say(engine, cloned("voice")).size


@pytest.mark.parametrize(
    "reference",
    [
        Audio(np.zeros(0, dtype=np.float32), 16_000),
        recording(1, seconds=0.2),
        Audio(np.zeros(32_000, dtype=np.float32), 16_000),
        Audio(np.full(32_000, np.nan, dtype=np.float32), 16_000),
    ],
    ids=["empty", "too short", "silent", "not numbers"],
)
def test_a_recording_without_a_voice_is_refused(xtts: CoquiEngine, reference: Audio) -> None:
    with pytest.raises(InvalidAudio) as caught:
        xtts.clone(cloned("nobody"), reference)
    assert caught.value.param == "voice"


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 48_000])
def test_recordings_of_any_rate(xtts: CoquiEngine, sample_rate: int) -> None:
    xtts.clone(cloned("rate"), recording(1, sample_rate=sample_rate))
    assert say(xtts, cloned("rate")).size
