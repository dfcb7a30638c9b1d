"""What sherpa-onnx would end the process for, looked for before it is given a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from core.errors import ModelBroken

_WHISPER = (
    "n_mels", "n_text_layer", "n_text_ctx", "n_text_state", "n_vocab", "sot", "eot", "blank_id", "translate",
    "transcribe", "is_multilingual", "no_timestamps", "no_speech", "sot_sequence",
)  # fmt: skip
_FRAMES = ("vocab_size", "subsampling_factor")
_FUNASR = ("vocab_size", "lfr_window_size", "lfr_window_shift")
_STYLES = ("sample_rate", "n_speakers", "style_dim")
_REQUIRED = {
    "whisper": _WHISPER,
    "nemo_ctc": _FRAMES,
    "wenet_ctc": _FRAMES,
    "sense_voice": (*_FUNASR, "normalize_samples"),
    "paraformer": (*_FUNASR, "neg_mean", "inv_stddev"),
    "dolphin_ctc": ("vocab_size", "mean", "invstd"),
    "fire_red_asr_ctc": ("cmvn_mean", "cmvn_inv_stddev"),
    "tdnn_ctc": ("vocab_size",),
    "t_one_ctc": ("frame_length_ms", "state_dim"),
    "vits": ("sample_rate", "n_speakers", "language", "comment"),
    "kokoro": _STYLES,
    "kitten": _STYLES,
}
_BLANKS = frozenset({"<blk>", "<eps>", "<blank>"})
_FLOAT_BYTES = 4


def check(family: str, files: Mapping[str, Path], facts: Mapping[str, str]) -> None:
    """Raise ModelBroken for metadata or lines of tokens.txt that are not there, and styles that do not fit."""
    if missing := [name for name in _REQUIRED.get(family, ()) if name not in facts]:
        raise ModelBroken(f"the {family} model does not say its {', '.join(missing)}; export it again")
    if tokens := files.get("tokens"):
        symbols = read_symbols(tokens)
        if family.endswith("_ctc") and not _BLANKS & symbols:
            raise ModelBroken(f"{tokens.name} has no symbol <blk>")
    if "voices" in files and family in {"kokoro", "kitten"}:
        _check_styles(files["voices"], facts)


def read_symbols(tokens: Path) -> frozenset[str]:
    """Return the symbols of a tokens.txt; what is no UTF-8 in them is replaced. Raises ModelBroken.

    A line is a symbol and its number; that of the blank is the number alone.
    """
    try:
        # As bytes: a symbol may be a blank or the end of a line of Unicode, which str would split at.
        lines = [line.split() for line in tokens.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ModelBroken(f"{tokens.name} cannot be read: {error}") from error
    if not lines or any(len(line) > 2 or not line[-1].isdigit() for line in lines):  # noqa: PLR2004 - the columns
        raise ModelBroken(f"{tokens.name} does not have a symbol and its number in every line")
    return frozenset(line[0].decode(errors="replace") if len(line) > 1 else " " for line in lines)


def _check_styles(path: Path, facts: Mapping[str, str]) -> None:
    try:
        wanted = int(facts["n_speakers"]) * math.prod(map(int, facts["style_dim"].split(",")))
    except ValueError as error:
        raise ModelBroken(f"the model's n_speakers and style_dim are no numbers: {error}") from error
    if path.stat().st_size != wanted * _FLOAT_BYTES:
        raise ModelBroken(f"{path.name} does not hold the styles of {facts['n_speakers']} speakers")
