"""Cloned voices without XTTS, with random weights: a converter, d-vectors, Tortoise; not how they sound."""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core.errors import (
    ConfigurationError,
    InvalidAudio,
    InvalidRequest,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    VoiceNotFound,
)
from tts.engines.coqui import CoquiEngine
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

TEXT = "Hello there, my friend."
SMALLER = 16
Load = Callable[..., CoquiEngine]


def recording(seed: int, *, seconds: float = 3.0, sample_rate: int = 24_000) -> Audio:
    """Noise that stands for a recording; every seed is another speaker."""
    samples = np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * sample_rate)).clip(-1, 1)
    return Audio(samples.astype(np.float32), sample_rate)


def cloned(name: str) -> Voice:
    return Voice(id=name, name=name, type="cloned")


def say(engine: CoquiEngine, voice: Voice) -> Samples:
    (chunk,) = engine.synthesize(TEXT, voice, SpeechOptions(seed=1))
    assert chunk.sample_rate == engine.sample_rate
    assert np.isfinite(chunk.samples).all()
    return chunk.samples


def write_converter(folder: Path) -> Path:
    """An OpenVoice of random weights; its config.json has what the library reads of the original's."""
    import torch
    from TTS.vc.configs.openvoice_config import OpenVoiceConfig
    from TTS.vc.models.openvoice import OpenVoice

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = OpenVoice(OpenVoiceConfig())
    with torch.no_grad():
        # As they begin, every voice is converted to the same one.
        model.ref_enc.proj.weight *= 50
        for flow in model.flow.flows[::2]:
            flow.post.weight.normal_(std=0.1)
    torch.save({"model": model.state_dict()}, folder / "checkpoint.pth")
    data = {"sampling_rate": 22_050, "filter_length": 1024, "hop_length": 256, "win_length": 1024}
    (folder / "config.json").write_text(json.dumps({"data": data}))
    return folder


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_converter(tmp_path_factory.mktemp("converter") / "openvoice")


@pytest.fixture(scope="module")
def converting(vits_many_dir: Path, converter: Path, load_engine: Load) -> CoquiEngine:
    return load_engine(vits_many_dir, options={"converter": str(converter)})


def test_a_model_that_cannot_clone_does_with_a_converter(converting: CoquiEngine) -> None:
    assert converting.can_clone
    for name, seed in (("one", 1), ("two", 2), ("again", 1)):
        converting.clone(cloned(name), recording(seed))
    one, two, again = (say(converting, cloned(name)) for name in ("one", "two", "again"))
    own = say(converting, converting.voices()[0])
    assert np.allclose(one, again, atol=1e-5)
    assert not np.allclose(one, two, atol=1e-5)
    assert abs(len(one) - len(own)) < 0.05 * converting.sample_rate
    assert not np.array_equal(own[: len(one)], one[: len(own)])


def test_its_own_voices_stay_as_they_are(converting: CoquiEngine, vits_many: CoquiEngine) -> None:
    assert converting.voices() == vits_many.voices()
    for voice in vits_many.voices():
        assert np.array_equal(say(converting, voice), say(vits_many, voice))


def test_a_voice_that_was_forgotten_is_not_spoken(converting: CoquiEngine) -> None:
    converting.clone(cloned("gone"), recording(3))
    converting.forget(cloned("gone"))
    with pytest.raises(InvalidRequest, match="not prepared"):
        say(converting, cloned("gone"))


@pytest.mark.parametrize("audio", [recording(1, seconds=0.5), Audio(np.zeros(48_000, np.float32), 24_000)])
def test_recordings_that_cannot_be_cloned(converting: CoquiEngine, audio: Audio) -> None:
    with pytest.raises(InvalidAudio):
        converting.clone(cloned("bad"), audio)


def test_what_is_no_converter_is_refused(vits_dir: Path, xtts_dir: Path, tmp_path: Path, load_engine: Load) -> None:
    with pytest.raises(ModelBroken, match=r"config\.json"):
        load_engine(vits_dir, options={"converter": str(tmp_path)})
    (tmp_path / "config.json").write_text('{"model": "freevc"}')
    with pytest.raises(NotSupported, match="OpenVoice"):
        load_engine(vits_dir, options={"converter": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="by itself"):
        load_engine(xtts_dir, options={"converter": str(tmp_path)})


def test_vits_with_an_encoder_clones_by_itself(d_vectors_dir: Path, load_engine: Load) -> None:
    engine = load_engine(d_vectors_dir)
    assert engine.can_clone
    assert [voice.id for voice in engine.voices()] == ["ann", "bob"]
    assert [voice.id for voice in CoquiEngine.list_voices(d_vectors_dir)] == ["ann", "bob"]
    for name, seed in (("one", 1), ("two", 2), ("again", 1)):
        engine.clone(cloned(name), recording(seed))
    assert np.array_equal(say(engine, cloned("one")), say(engine, cloned("again")))
    assert not np.array_equal(say(engine, cloned("one")), say(engine, cloned("two")))
    engine.forget(cloned("one"))
    with pytest.raises(InvalidRequest, match="not prepared"):
        say(engine, cloned("one"))


def test_an_encoder_with_statistics_is_left_alone(d_vectors_dir: Path, load_engine: Load, tmp_path: Path) -> None:
    """The library would unpickle them."""
    folder = Path(shutil.copytree(d_vectors_dir, tmp_path / "model"))
    config = json.loads((folder / "config_se.json").read_text())
    config["audio"]["stats_path"] = "stats.npy"
    (folder / "config_se.json").write_text(json.dumps(config))
    engine = load_engine(folder)
    assert not engine.can_clone
    with pytest.raises(NotSupported, match="converter"):
        engine.clone(cloned("one"), recording(1))
    with pytest.raises(VoiceNotFound):
        say(engine, cloned("one"))


def write_tortoise(folder: Path) -> Path:
    """A Tortoise of one layer of everything but the vocoder, as wide as SMALLER makes its random latents."""
    import torch
    from TTS.tts.configs.tortoise_config import TortoiseConfig
    from TTS.tts.layers.tortoise.random_latent_generator import RandomLatentConverter
    from TTS.tts.models.tortoise import Tortoise

    torch.manual_seed(0)
    (folder / ".models").mkdir(parents=True)
    config = TortoiseConfig()
    sizes = {
        "ar_layers": 1,
        "ar_model_dim": 1024 // SMALLER,
        "ar_heads": 2,
        "ar_checkpointing": False,
        "diff_model_channels": 1024 // SMALLER,
        "diff_num_layers": 1,
        "diff_in_latent_channels": 1024 // SMALLER,
        "diff_num_heads": 2,
        "clvp_dim_text": 32,
        "clvp_dim_speech": 32,
        "clvp_dim_latent": 32,
        "clvp_text_enc_depth": 1,
        "clvp_text_heads": 2,
        "clvp_speech_enc_depth": 1,
        "clvp_speech_heads": 2,
    }
    for name, size in sizes.items():
        config.model_args[name] = size
    config.model_args.enable_redaction = False
    model = Tortoise(config)
    with torch.no_grad():
        # Of ten tokens about one is the last; untrained, it would go on to the longest there is.
        model.autoregressive.mel_head.bias[model.autoregressive.stop_mel_token] = 6.5
    parts = {
        "autoregressive": model.autoregressive.state_dict(),
        "diffusion_decoder": model.diffusion.state_dict(),
        "clvp2": model.clvp.state_dict(),
        "vocoder": {"model_g": model.vocoder.state_dict()},
        "rlg_auto": RandomLatentConverter(1024 // SMALLER).state_dict(),
        "rlg_diffuser": RandomLatentConverter(2048 // SMALLER).state_dict(),
        "mel_norms": torch.ones(80),
    }
    for name, part in parts.items():
        torch.save(part, folder / ".models" / f"{name}.pth")
    config.save_json(str(folder / "config.json"))
    (folder / ".models" / "autoregressive.pth").rename(folder / "autoregressive.pth")
    return folder


@pytest.fixture(scope="module")
def tortoise(tmp_path_factory: pytest.TempPathFactory, load_engine: Load) -> Iterator[CoquiEngine]:
    from TTS.tts.layers.tortoise.random_latent_generator import RandomLatentConverter
    from TTS.tts.models import tortoise as library

    with pytest.MonkeyPatch.context() as patch:
        # The width is written into the library.
        patch.setattr(library, "RandomLatentConverter", lambda width: RandomLatentConverter(width // SMALLER))
        yield load_engine(write_tortoise(tmp_path_factory.mktemp("models") / "tiny-tortoise"))


def test_tortoise_speaks_with_its_own_voice_and_with_recorded_ones(tortoise: CoquiEngine) -> None:
    assert tortoise.can_clone
    assert (tortoise.sample_rate, tortoise.languages, tortoise.speed_range) == (24_000, ("en",), (1.0, 1.0))
    (voice,) = tortoise.voices()
    for name, seed in (("one", 1), ("two", 2)):
        tortoise.clone(cloned(name), recording(seed))
    own, again, one, two = (say(tortoise, each) for each in (voice, voice, cloned("one"), cloned("two")))
    assert own.size
    assert np.array_equal(own, again)
    assert not any(np.array_equal(left, right) for left, right in ((own, one), (one, two)))
    tortoise.forget(cloned("one"))
    with pytest.raises(InvalidRequest, match="not prepared"):
        say(tortoise, cloned("one"))


def test_tortoise_refuses_what_it_cannot_honour(tortoise: CoquiEngine) -> None:
    for options in ({"speed": 1.5}, {"language": "de"}, {"instructions": "whisper"}):
        with pytest.raises(UnsupportedParameter) as caught:
            list(tortoise.synthesize(TEXT, tortoise.voices()[0], SpeechOptions(**options)))
        assert caught.value.param == next(iter(options))


def test_numbers_that_tortoise_spells_out_are_cut(tortoise: CoquiEngine) -> None:
    """More tokens at once end in an assertion of the library."""
    pieces = list(tortoise._model._pieces("9" * 250))
    assert "".join(pieces) == "9" * 250
    assert len(pieces) > 1


def test_a_tortoise_that_is_not_whole_is_refused(tmp_path: Path, load_engine: Load) -> None:
    (tmp_path / "autoregressive.pth").touch()
    (tmp_path / "clvp2.pth").touch()
    with pytest.raises(ModelBroken, match=r"diffusion_decoder\.pth.*rlg_diffuser\.pth") as caught:
        load_engine(tmp_path)
    assert "clvp2" not in caught.value.message
    (tmp_path / "config.json").write_text('{"model": "tortoise", "audio": {}}')
    with pytest.raises(ModelBroken, match=r"diffusion_decoder\.pth"):
        load_engine(tmp_path)


def test_bark_is_refused_with_the_reason(tmp_path: Path, load_engine: Load) -> None:
    (tmp_path / "config.json").write_text('{"model": "bark", "audio": {}}')
    with pytest.raises(NotSupported, match="network"):
        load_engine(tmp_path)
