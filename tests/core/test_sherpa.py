"""Families of sherpa-onnx, told by the files of folders made up here: no model of any of them is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from core import sherpa
from core.errors import ConfigurationError, ModelBroken
from core.sherpa_checks import read_symbols
from core.sherpa_families import Kind
from utils.onnx_metadata import more_metadata


def folder(path: Path, *names: str, notes: Mapping[str, Mapping[str, object]] | None = None) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"\x08\x07")
    for name, facts in (notes or {}).items():
        (path / name).write_bytes(b"\x08\x07" + more_metadata(facts))
    return path


WHOLE = {"comment": "non-streaming zipformer"}
STREAMING = {"model_type": "zipformer2", "decode_chunk_len": 32}
# What is in the folder besides tokens.txt, metadata of a network, the family and what opens it.
FOLDERS = [
    (("encoder.onnx", "decoder.onnx", "joiner.onnx"), {}, "transducer", "offline"),
    (("decoder.onnx", "joiner.onnx"), {"encoder.onnx": STREAMING}, "transducer", "online"),
    (("decoder.onnx", "joiner.onnx"), {"encoder.onnx": WHOLE}, "transducer", "offline"),
    (("tiny-decoder.onnx",), {"tiny-encoder.onnx": {"model_type": "whisper-tiny"}}, "whisper", "offline"),
    (("decoder.onnx",), {"encoder.onnx": {"model_type": "EncDecMultiTaskModel"}}, "nemo_canary", "offline"),
    (("decoder.onnx",), {"encoder.onnx": {"model_type": "fire-red-asr"}}, "fire_red_asr", "offline"),
    (("decoder.onnx",), {"encoder.onnx": {"model_type": "cohere-transcribe"}}, "cohere_transcribe", "offline"),
    (("decoder.onnx",), {"encoder.onnx": {"model_type": "paraformer"}}, "paraformer", "online"),
    ((), {"model.onnx": {"model_type": "paraformer"}}, "paraformer", "offline"),
    ((), {"model.onnx": {"model_type": "sense_voice_ctc"}}, "sense_voice", "offline"),
    ((), {"model.onnx": {"model_type": "EncDecCTCModelBPE"}}, "nemo_ctc", "offline"),
    ((), {"model.onnx": {"model_type": "EncDecCTCModelBPE", "chunk_shift": 8}}, "nemo_ctc", "online"),
    ((), {"model.onnx": {"model_type": "zipformer2_ctc"}}, "zipformer_ctc", "offline"),
    ((), {"model.onnx": {"model_type": "zipformer2_ctc", "decode_chunk_len": 32}}, "zipformer2_ctc", "online"),
    ((), {"model.onnx": {"model_type": "dolphin"}}, "dolphin_ctc", "offline"),
    ((), {"model.onnx": {"model_type": "fire-red-asr-2-ctc"}}, "fire_red_asr_ctc", "offline"),
    ((), {"model.onnx": {"model_type": "telespeech_ctc"}}, "telespeech_ctc", "offline"),
    ((), {"model-streaming.onnx": {"model_type": "wenet_ctc"}}, "wenet_ctc", "online"),
    (
        ("preprocess.onnx", "encode.int8.onnx", "uncached_decode.int8.onnx", "cached_decode.int8.onnx"),
        {},
        "moonshine",
        "offline",
    ),
    (("encoder_model.ort", "decoder_model_merged.ort"), {}, "moonshine_v2", "offline"),
    (("conv_frontend.onnx", "encoder.onnx", "decoder.onnx", "tokenizer/vocab.json"), {}, "qwen3_asr", "offline"),
    ((), {"en_US-joe.onnx": {"model_type": "vits", "comment": "piper"}}, "vits", "tts"),
    (("lexicon.txt",), {"model.onnx": {"comment": "melo"}}, "vits", "tts"),
    (("voices.bin",), {"model.onnx": {"model_type": "kokoro"}}, "kokoro", "tts"),
    (("voices.bin",), {"model.fp16.onnx": {"model_type": "kitten-tts"}}, "kitten", "tts"),
    (("vocos-22khz-univ.onnx",), {"model-steps-3.onnx": {"model_type": "matcha-tts"}}, "matcha", "tts"),
    (("encoder.int8.onnx", "decoder.int8.onnx", "vocos_24khz.onnx"), {}, "zipvoice", "tts"),
    (
        ("lm_flow.onnx", "lm_main.onnx", "encoder.onnx", "decoder.onnx", "text_conditioner.onnx", "vocab.json",
         "token_scores.json"),
        {},
        "pocket",
        "tts",
    ),
    (
        ("duration_predictor.onnx", "text_encoder.onnx", "vector_estimator.onnx", "vocoder.onnx", "tts.json",
         "unicode_indexer.bin", "voice.bin"),
        {},
        "supertonic",
        "tts",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("names", "notes", "family", "kind"), FOLDERS)
def test_a_folder_tells_its_family(
    tmp_path: Path, names: tuple[str, ...], notes: Mapping[str, Mapping[str, object]], family: str, kind: str
) -> None:
    found = sherpa.find(folder(tmp_path, "tokens.txt", *names, notes=notes))
    assert found is not None
    assert (found.family, found.kind) == (family, kind)
    assert all(path.exists() for path in found.files.values())


@pytest.mark.parametrize(("int8", "name"), [(True, "encoder.int8.onnx"), (False, "encoder.onnx")])
def test_of_two_precisions_the_wanted_one_is_taken(tmp_path: Path, int8: bool, name: str) -> None:
    names = [f"{part}{kind}.onnx" for part in ("encoder", "decoder", "joiner") for kind in ("", ".int8", ".fp16")]
    found = sherpa.find(folder(tmp_path, "tokens.txt", *names), int8=int8)
    assert found is not None
    assert found.files["encoder"].name == name


def test_whispers_files_have_its_name_in_front(tmp_path: Path) -> None:
    notes = {"tiny.en-encoder.onnx": {"model_type": "whisper-tiny.en"}}
    found = sherpa.find(folder(tmp_path, "tiny.en-decoder.onnx", "tiny.en-tokens.txt", notes=notes))
    assert found is not None
    assert {name: path.name for name, path in found.files.items()} == {
        "encoder": "tiny.en-encoder.onnx",
        "decoder": "tiny.en-decoder.onnx",
        "tokens": "tiny.en-tokens.txt",
    }


def test_where_metadata_tell_none_the_family_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, "model.onnx", "tokens.txt")
    assert sherpa.find(path) is None
    found = sherpa.find(path, family="nemo_ctc")
    assert found is not None
    assert found.family == "nemo_ctc"


def test_what_an_engine_cannot_open_says_why(tmp_path: Path) -> None:
    def opened(path: Path | None, kind: Kind) -> sherpa.SherpaModel:
        return sherpa.opened(path, (kind,), int8=True, family=None)

    with pytest.raises(ConfigurationError, match="needs the folder"):
        opened(None, "tts")
    with pytest.raises(ModelBroken, match="no model"):
        opened(folder(tmp_path / "empty"), "tts")
    voice = folder(tmp_path / "voice", "tokens.txt", notes={"a.onnx": {"comment": "piper"}})
    with pytest.raises(ConfigurationError, match="other service"):
        opened(voice, "offline")
    with pytest.raises(ModelBroken, match="does not say its sample_rate, n_speakers, language"):
        opened(voice, "tts")
    with pytest.raises(ModelBroken, match="tokens"):
        opened(folder(tmp_path / "asr", notes={"a.onnx": {"model_type": "tdnn"}}), "offline")


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path, "decoder.onnx", "tokens.txt", notes={"encoder.onnx": {"model_type": "whisper-tiny"}})
    (path / name).write_bytes(b"")
    with pytest.raises(ModelBroken, match=f"{name} is empty"):
        sherpa.opened(path, ("offline",), int8=True, family=None)


def test_symbols_may_be_blanks_of_unicode(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("_ 0\n  3\n\u2028 4\n\u3000 5\n\u02c8 120\n", encoding="utf-8")
    assert read_symbols(path) == {"_", " ", "\u2028", "\u3000", "\u02c8"}


@pytest.mark.parametrize("content", ["", "\n", "a b 1\n", "a 1\nb\n", "a one\n"])
def test_lines_that_are_no_symbols_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(ModelBroken):
        read_symbols(tmp_path / "tokens.txt")


def test_styles_are_those_of_all_speakers(tmp_path: Path) -> None:
    facts = {"model_type": "kokoro", "sample_rate": 24_000, "n_speakers": 2, "style_dim": "5,1,4"}
    path = folder(tmp_path, notes={"model.onnx": facts})
    (path / "tokens.txt").write_text("a 1\n")
    for size in (0, 159, 161):
        (path / "voices.bin").write_bytes(bytes(size))
        with pytest.raises(ModelBroken, match=r"styles|empty"):
            sherpa.opened(path, ("tts",), int8=True, family=None)
    (path / "voices.bin").write_bytes(bytes(160))
    assert sherpa.opened(path, ("tts",), int8=True, family=None).family == "kokoro"
