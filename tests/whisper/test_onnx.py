"""What scripts/convert_whisper.py writes for sherpa-onnx says the same as the model that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.engines.whisper import WhisperEngine
from tests.whisper.conftest import Hear, Load, text
from utils.onnx_metadata import read_metadata

pytest.importorskip("onnx")
sherpa_onnx = pytest.importorskip("sherpa_onnx")
TINY = "whisper-tiny.en"


@pytest.fixture(scope="module")
def networks(model_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from scripts.convert_whisper import write_onnx  # noqa: PLC0415 - with torch

    folder = tmp_path_factory.mktemp("networks") / "tiny.en-onnx"
    write_onnx(model_dir(TINY), folder)
    return folder


def test_sherpa_onnx_hears_what_the_checkpoint_hears(networks: Path, load_engine: Load, hear: Hear) -> None:
    engine: WhisperEngine = load_engine(TINY)
    recognizer = sherpa_onnx.OfflineRecognizer.from_whisper(
        encoder=str(networks / "encoder.onnx"),
        decoder=str(networks / "decoder.onnx"),
        tokens=str(networks / "tokens.txt"),
        num_threads=1,
    )
    for name in ("en/jfk.wav", "multi/read_en.wav"):
        audio = hear(name)
        stream = recognizer.create_stream()
        stream.accept_waveform(audio.sample_rate, audio.samples)
        recognizer.decode_stream(stream)
        plain = text(engine, audio, beam_size=1)
        heard = [letter for letter in stream.result.text.lower() if letter.isalpha()]
        assert heard == [letter for letter in plain.lower() if letter.isalpha()]


def test_the_notes_and_the_tokens(networks: Path) -> None:
    notes = read_metadata(networks / "encoder.onnx")
    assert (notes["model_type"], notes["is_multilingual"], notes["n_text_layer"]) == ("whisper-tiny.en", "0", "4")
    assert notes["sot_sequence"] == notes["sot"] == "50257"
    lines = (networks / "tokens.txt").read_text(encoding="ascii").splitlines()
    assert len(lines) == 50256
    assert lines[0] == "IQ== 0"
