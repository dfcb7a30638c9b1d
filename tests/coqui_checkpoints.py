"""Tiny, randomly initialised checkpoints written by Coqui's own classes. They make noise."""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path

from tts.engines.coqui_files import XTTS_LANGUAGES

SPEAKER = "Ada Lovelace"


def write_vocabulary(path: Path) -> None:
    """A character-level tokenizer in the file format of XTTS's vocab.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["[STOP]", "[UNK]", "[SPACE]", "[START]", *(f"[{code}]" for code in XTTS_LANGUAGES)]
    characters = string.ascii_lowercase + string.digits + ".,!?'-"
    vocabulary = {token: number for number, token in enumerate([*special, *characters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


def write_xtts(folder: Path, *, seed: int = 0) -> Path:
    """An XTTS model with a two-layer GPT that never stops by itself: 67 audio tokens, 0.8 seconds, per piece."""
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder / "vocab.json")
    arguments = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=64,
        gpt_n_heads=2,
        gpt_max_audio_tokens=70,
        gpt_num_audio_tokens=34,
        gpt_start_audio_token=32,
        gpt_stop_audio_token=33,
        # A quarter of the real stride: a quarter of the work of the vocoder, which no setting makes small.
        gpt_code_stride_len=256,
        gpt_use_perceiver_resampler=True,
        decoder_input_dim=64,
    )
    config = XttsConfig(model_args=arguments)
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(str(folder / "vocab.json"))
    model.init_models()
    with torch.no_grad():
        model.gpt.mel_head.bias[33] = -1e4
        model.hifigan_decoder.waveform_decoder.conv_post.weight *= 20
    config.save_json(str(folder / "config.json"))
    torch.save({"model": model.state_dict(), "config": config.to_dict()}, folder / "model.pth")
    speaker = {
        "gpt_cond_latent": torch.randn(1, 32, 64) * 0.3,
        "speaker_embedding": torch.randn(1, 512, 1) * 0.1,
    }
    torch.save({SPEAKER: speaker}, folder / "speakers_xtts.pth")
    return folder


def write_vits(
    folder: Path,
    *,
    speakers: tuple[str, ...] = (),
    languages: tuple[str, ...] = ("en",),
    d_vectors: Mapping[str, float] | None = None,
) -> Path:
    """A VITS model of 1.7 million weights; its configuration names files of "the machine it was trained on".

    Its speakers are rows of a table, or `d_vectors`: vectors of 16 equal numbers.
    """
    import torch
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    arguments = VitsArgs(
        hidden_channels=32,
        hidden_channels_ffn_text_encoder=64,
        num_layers_text_encoder=1,
        num_layers_posterior_encoder=2,
        num_layers_flow=2,
        upsample_initial_channel_decoder=64,
        speaker_embedding_channels=16,
        init_discriminator=False,
        use_speaker_embedding=bool(speakers),
        use_language_embedding=len(languages) > 1,
    )
    if speakers:
        names = folder / "speaker_ids.json"
        names.write_text(json.dumps({name: number for number, name in enumerate(speakers)}))
        arguments.speakers_file = str(names)
    if d_vectors:
        vectors = {f"{name}.wav": {"name": name, "embedding": [value] * 16} for name, value in d_vectors.items()}
        (folder / "speakers.json").write_text(json.dumps(vectors))
        arguments.use_d_vector_file, arguments.d_vector_dim = True, 16
        arguments.d_vector_file = [str(folder / "speakers.json")]
    config = VitsConfig(model_args=arguments, languages=list(languages))
    model = Vits(config)
    with torch.no_grad():
        model.waveform_decoder.conv_post.weight *= 20
    torch.save({"model": model.state_dict()}, folder / "model_file.pth")
    stored = config.to_dict()
    if speakers:
        stored["model_args"]["speakers_file"] = stored["speakers_file"] = "/home/trainer/run-7/speaker_ids.json"
    (folder / "config.json").write_text(json.dumps(stored))
    return folder


def write_d_vectors(folder: Path) -> Path:
    """A VITS of two speakers that are vectors, as YourTTS is, and a small encoder that makes such vectors."""
    import torch
    from TTS.encoder.configs.speaker_encoder_config import SpeakerEncoderConfig
    from TTS.encoder.utils.generic_utils import setup_encoder_model

    torch.manual_seed(0)
    write_vits(folder, d_vectors={"ann": 0.1, "bob": -0.2})
    config = SpeakerEncoderConfig()
    sizes = {"input_dim": 80, "proj_dim": 16, "lstm_dim": 16, "num_lstm_layers": 1}
    config.model_params = {**config.model_params, **sizes, "model_name": "lstm", "use_torch_spec": True}
    config.audio.num_mels = 80
    # Of training alone, and without a default.
    config.num_classes_in_batch = config.num_utter_per_class = config.num_loader_workers = 1
    torch.save({"model": setup_encoder_model(config).state_dict()}, folder / "model_se.pth")
    config.save_json(str(folder / "config_se.json"))
    return folder


def write_glow_tts(folder: Path) -> Path:
    """A Glow-TTS model without a vocoder, spoken through Griffin-Lim."""
    import torch
    from TTS.tts.configs.glow_tts_config import GlowTTSConfig
    from TTS.tts.models.glow_tts import GlowTTS

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = GlowTTSConfig(languages=["en"])
    config.model_args.encoder_params = {
        "kernel_size": 3,
        "dropout_p": 0.1,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_channels_ffn": 64,
        "input_length": None,
    }
    config.audio.griffin_lim_iters = 10
    model = GlowTTS(config)
    with torch.no_grad():
        # Three frames for each character, so that speed has something to change.
        model.encoder.duration_predictor.proj.bias += 1
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    config.save_json(str(folder / "config.json"))
    return folder
