"""Write an installed Piper or Kokoro voice as a folder that the sherpa-onnx engine opens.

Needs the Python of the base install of voice-stack; speaking with the folder needs the extra `sherpa`.

    .venv/bin/python scripts/convert_voice.py "$(voice-stack models path piper-en_US-joe-medium)" DESTINATION

The weights stay as they are: behind them come the notes that sherpa-onnx reads, and beside them tokens.txt, for Kokoro
also voices.bin. The folder needs no espeak-ng-data: from version 2 on sherpa-onnx is given phonemes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import voice_stack  # noqa: F401 - puts asr, tts, core and utils on the path, so it comes first
from utils import languages
from utils.onnx_metadata import more_metadata

KOKORO_STYLE_BYTES = 256 * 4


def convert(source: Path, destination: Path) -> None:
    """Convert the voice in a folder. Raises ValueError for one that is neither Piper's nor Kokoro's."""
    config = next((path for path in sorted(source.glob("*.onnx.json")) if path.with_suffix("").is_file()), None)
    styles = sorted((source / "voices").glob("*.bin"))
    networks = sorted(source.glob("*.onnx"))
    if config is None and not (styles and networks):
        raise ValueError("the folder holds neither NAME.onnx with its NAME.onnx.json nor a model with voices/*.bin")
    destination.mkdir(parents=True, exist_ok=True)
    if config is not None:
        piper(config, destination)
    else:
        kokoro(networks[0], styles, destination)


def piper(config_file: Path, destination: Path) -> None:
    """Write NAME.onnx and tokens.txt. Raises ValueError for an alphabet whose symbols are not single characters."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    network = config_file.with_suffix("")
    symbols = {symbol: ids[0] if isinstance(ids, list) else ids for symbol, ids in config["phoneme_id_map"].items()}
    symbols.pop("\n", None)
    if long := [symbol for symbol in symbols if len(symbol) != 1]:
        raise ValueError(f"sherpa-onnx knows symbols of one character only, not {long[0]!r}")
    write_tokens(symbols, destination / "tokens.txt")
    copy_with_notes(network, destination / network.name, piper_notes(config, network.stem))


def piper_notes(config: Mapping[str, Any], name: str) -> dict[str, object]:
    """Return the metadata of a Piper voice; `speaker_names` is ours, the library's VITS knows numbers only."""
    voice = str(config["espeak"]["voice"])
    count = int(config.get("num_speakers", 1))
    numbers: Mapping[str, int] = config.get("speaker_id_map") or {}
    speakers = sorted(numbers, key=lambda speaker: numbers[speaker])
    names = [f"{name}-{speaker}" for speaker in speakers] if count > 1 else [name]
    notes: dict[str, object] = {
        "model_type": "vits",
        "comment": "piper",
        "language": languages.name(languages.parse(voice.partition("-")[0]) or "en").title(),
        "voice": voice,
        "has_espeak": 1,
        "n_speakers": count,
        "sample_rate": int(config["audio"]["sample_rate"]),
    }
    return {**notes, "speaker_names": ",".join(names)} if len(names) == count else notes


def kokoro(network: Path, styles: list[Path], destination: Path) -> None:
    """Write model.onnx, tokens.txt and voices.bin, the styles of all voices one behind the other."""
    from kokoro_onnx.config import DEFAULT_VOCAB  # noqa: PLC0415 - no other conversion needs it

    sizes = {path.stat().st_size for path in styles}
    if len(sizes) != 1 or (size := sizes.pop()) % KOKORO_STYLE_BYTES:
        raise ValueError("the voices do not have the same number of styles")
    with (destination / "voices.bin").open("wb") as file:
        for path in styles:
            file.write(path.read_bytes())
    write_tokens(DEFAULT_VOCAB, destination / "tokens.txt")
    notes = {
        "model_type": "kokoro",
        "comment": "Kokoro v1.0",
        "language": "multi-lang",
        "voice": "en-us",
        "has_espeak": 1,
        "version": 2,
        "sample_rate": 24_000,
        "style_dim": f"{size // KOKORO_STYLE_BYTES},1,256",
        "n_speakers": len(styles),
        "speaker_names": ",".join(path.stem for path in styles),
    }
    copy_with_notes(network, destination / "model.onnx", notes)


def write_tokens(symbols: Mapping[str, int], path: Path) -> None:
    """Write symbols and their numbers, a line each."""
    path.write_text("".join(f"{symbol} {number}\n" for symbol, number in symbols.items()), encoding="utf-8")


def copy_with_notes(source: Path, destination: Path, notes: Mapping[str, object]) -> None:
    """Copy a model, with metadata behind it."""
    shutil.copyfile(source, destination)
    with destination.open("ab") as file:
        file.write(more_metadata(notes))


def main() -> int:
    """Convert what the command line says; the exit status is 1 for what is no such voice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of the voice, as `voice-stack models path ID` tells it")
    parser.add_argument("destination", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.destination)
    except (ValueError, KeyError, OSError) as error:
        print(f"not converted: {error}", file=sys.stderr)
        return 1
    path = shlex.quote(str(arguments.destination.absolute()))
    print(f"written; speak with it: TTS_ENGINE=sherpa-onnx TTS_MODEL={path} voice-stack serve tts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
