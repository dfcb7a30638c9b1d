"""Which of sherpa-onnx's model families a folder holds, told by names of files and notes in them; nothing is loaded.

Families are called as the library calls them: `from_<family>` of its recognisers, the parameter of its TTS config.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from core import sherpa_checks
from core.errors import ConfigurationError, ModelBroken
from core.sherpa_families import PAIRS, PARAMETERS, SHAPES, SINGLES, Kind
from utils.onnx_metadata import read_metadata

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SherpaModel:
    """A model of sherpa-onnx.

    `kind` is what opens it: OfflineRecognizer, OnlineRecognizer (which also listens while audio still comes) or
    OfflineTts. `files` are the paths by the library's parameters, `facts` the metadata of the main file.
    """

    family: str
    kind: Kind
    files: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def fact(self, name: str, default: int = 0) -> int:
        """Return a number of the metadata."""
        try:
            return int(self.facts.get(name, default))
        except ValueError:
            return default


_VITS_COMMENTS = ("piper", "coqui", "melo", "icefall", "inflect")
_STREAM_FACTS = frozenset({"decode_chunk_len", "chunk_shift", "cache_last_channel_dim1", "streaming_model_type"})
_STREAM_TYPES = frozenset({"lstm", "emformer", "t-one"})
_STREAM_NAME = re.compile(r"(?<!non-)(?<!non_)streaming")
_VOCODERS = ("vocos", "hifigan", "vocoder")


def find(folder: Path, *, int8: bool = True, family: str | None = None) -> SherpaModel | None:
    """Return the model in a folder, None where there is none that is known.

    Where a network is there twice, the one in 8 bits is taken if `int8`, else the other. `family` is the one to take
    where metadata tell none: of a single network, or of an encoder and a decoder.
    """
    networks = _Networks(folder, int8=int8)
    for look in (_by_shape, _zipvoice, _pair, _single):
        if model := look(folder, networks, family):
            return _with_tokens(folder, model)
    return None


def opened(folder: Path | None, kinds: Iterable[Kind], *, int8: bool, family: str | None) -> SherpaModel:
    """Return the model in an engine's folder; ConfigurationError, or ModelBroken, where there is none of these kinds.

    What the library would end the process for is looked for too (core.sherpa_checks).
    """
    if folder is None or not folder.is_dir():
        raise ConfigurationError("the sherpa-onnx engine needs the folder of a model")
    model = find(folder, int8=int8, family=family)
    read = model.files.values() if model else _network_files(folder)
    if empty := [path.name for path in read if path.is_file() and not path.stat().st_size]:
        raise ModelBroken(f"{empty[0]} is empty; fetch the model again")
    if model is None:
        raise ModelBroken("the folder holds no model that sherpa-onnx is known to open; see docs/engines.md")
    if model.kind not in kinds:
        raise ConfigurationError(f"this is a {model.family} model, which is for the other service")
    reads = model.kind != "tts" or model.family in {"vits", "kokoro", "kitten", "matcha", "zipvoice"}
    if reads and "tokens" not in model.files and "tokenizer" not in model.files:
        raise ModelBroken(f"the folder of the {model.family} model lacks tokens.txt")
    sherpa_checks.check(model.family, model.files, model.facts)
    return model


def _network_files(folder: Path) -> list[Path]:
    return sorted(path for kind in ("*.onnx", "*.ort") for path in folder.glob(kind) if path.is_file())


class _Networks:
    """The ONNX files of a folder."""

    def __init__(self, folder: Path, *, int8: bool) -> None:
        self._files = _network_files(folder)
        self._int8 = int8

    def named(self, part: str) -> Path | None:
        """Return the file that has this part in its name, from the beginning or behind a mark."""
        wanted = re.compile(rf"(^|[-_.]){re.escape(part)}(?![a-z])")
        return self._best(path for path in self._files if wanted.search(path.name))

    def single(self) -> Path | None:
        """Return the one network, in one precision or several, that is no vocoder."""
        return self._best(path for path in self._files if not any(mark in path.name for mark in _VOCODERS))

    def _best(self, files: Iterable[Path]) -> Path | None:
        def order(path: Path) -> tuple[bool, bool, int, str]:
            return ("int8" in path.name) != self._int8, "fp16" in path.name, len(path.name), path.name

        return min(files, key=order, default=None)


def _by_shape(folder: Path, networks: _Networks, family: str | None) -> SherpaModel | None:
    del family
    for shape in SHAPES:
        files = {PARAMETERS.get(part, part): networks.named(part) for part in shape.networks}
        files |= {parameter: _other(folder, name) for parameter, name in shape.others}
        found = {parameter: path for parameter, path in files.items() if path is not None}
        if len(found) < len(files):
            continue
        facts = read_metadata(found["encoder"]) if "encoder" in found else {}
        streams = shape.family == "transducer" and _streams(found["encoder"], facts)
        return SherpaModel(family=shape.family, kind="online" if streams else shape.kind, files=found, facts=facts)
    return None


def _zipvoice(folder: Path, networks: _Networks, family: str | None) -> SherpaModel | None:
    del folder, family
    encoder, decoder, vocoder = networks.named("encoder"), networks.named("decoder"), _vocoder(networks)
    if not (encoder and decoder and vocoder):
        return None
    files = {"encoder": encoder, "decoder": decoder, "vocoder": vocoder}
    return SherpaModel(family="zipvoice", kind="tts", files=files, facts=read_metadata(decoder))


def _pair(folder: Path, networks: _Networks, family: str | None) -> SherpaModel | None:
    del folder
    encoder, decoder = networks.named("encoder"), networks.named("decoder")
    if not (encoder and decoder):
        return None
    facts = read_metadata(encoder)
    known = _longest(PAIRS, facts.get("model_type", ""))
    if known is None and family in {name for name, _ in PAIRS.values()}:
        known = next(pair for pair in PAIRS.values() if pair[0] == family)
    if known is None:
        return None
    return SherpaModel(family=known[0], kind=known[1], files={"encoder": encoder, "decoder": decoder}, facts=facts)


def _single(folder: Path, networks: _Networks, family: str | None) -> SherpaModel | None:
    network = networks.single()
    if network is None:
        return None
    facts = read_metadata(network)
    if speaks := _speaks(folder, networks, network, facts):
        return speaks
    known = _longest(SINGLES, facts.get("model_type", ""))
    if known is None and family:
        known = next((names for names in SINGLES.values() if family in names), None)
    if known is None:
        return None
    offline, online = known
    streams = online is not None and _streams(network, facts)
    chosen = online if streams and online else offline
    parameter = "paraformer" if chosen == "paraformer" else "model"
    return SherpaModel(family=chosen, kind="online" if streams else "offline", files={parameter: network}, facts=facts)


def _speaks(folder: Path, networks: _Networks, network: Path, facts: Mapping[str, str]) -> SherpaModel | None:
    named = facts.get("model_type", "")
    voices, vocoder = _other(folder, "voices.bin"), _vocoder(networks)
    if named in {"kokoro", "kitten-tts"} and voices:
        files = {"model": network, "voices": voices}
        return SherpaModel(family=named.removesuffix("-tts"), kind="tts", files=files, facts=facts)
    if named.startswith("matcha"):
        files = {"acoustic_model": network} | ({"vocoder": vocoder} if vocoder else {})
        return SherpaModel(family="matcha", kind="tts", files=files, facts=facts)
    if named == "vits" or any(mark in facts.get("comment", "") for mark in _VITS_COMMENTS):
        return SherpaModel(family="vits", kind="tts", files={"model": network}, facts=facts)
    return None


def _vocoder(networks: _Networks) -> Path | None:
    return next((found for part in _VOCODERS if (found := networks.named(part))), None)


def _other(folder: Path, name: str) -> Path | None:
    """Return a file or folder by its name; the name of tokens may have that of the model before it."""
    if (folder / name).exists():
        return folder / name
    return next(iter(sorted(folder.glob("*-tokens.txt"))), None) if name == "tokens.txt" else None


def _with_tokens(folder: Path, model: SherpaModel) -> SherpaModel:
    tokens = _other(folder, "tokens.txt")
    if tokens is None or "tokenizer" in model.files or model.family in {"pocket", "supertonic"}:
        return model
    return replace(model, files={**model.files, "tokens": tokens})


def joined(folder: Path, pattern: str) -> str:
    """Return the files of a folder as the library takes several: by name, with commas between; "" for none."""
    return ",".join(str(path) for path in sorted(folder.glob(pattern)) if path.is_file())


def _streams(network: Path, facts: Mapping[str, str]) -> bool:
    """Return whether a network is one of streams: by its notes, else by its name."""
    if _STREAM_FACTS & set(facts) or facts.get("model_type") in _STREAM_TYPES:
        return True
    told = facts.get("comment", "")
    return bool(_STREAM_NAME.search(told if "streaming" in told else network.name))


def _longest(table: Mapping[str, _T], named: str) -> _T | None:
    """Return what the longest key says that a name begins with."""
    keys = [key for key in table if named.startswith(key)]
    return table[max(keys, key=len)] if keys else None
