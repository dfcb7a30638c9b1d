"""Models in ggml's formats through CrispASR: one library for many architectures, of which some listen and some speak.

The library is imported when a session is opened, which happens in worker processes only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from core import gguf
from core.devices import usable_cores
from core.engines import EngineContext, EngineOptions
from core.errors import ConfigurationError, ModelBroken, VoiceStackError

_MAX_THREADS = 8
"""More threads of one session wait for each other more than they compute."""
_RUN_BY = {"vibevoice-tts": "vibevoice", "canary-ctc": "fastconformer-ctc", "omniasr-llm-unlimited": "omniasr-llm"}
"""Architectures whose abilities the library does not list, and those whose code they run in."""
_WHISPER_TEXT_TOKENS = 51_765
"""Tokens of a Whisper that are no languages; the multilingual ones have one more."""


class CrispasrOptions(EngineOptions):
    """Options of one model; paths that are relative lead from the folder of the model's file."""

    backend: str | None = Field(
        default=None, description="The architecture, for files that do not tell (`general.architecture`)."
    )
    codec: Path | None = Field(
        default=None, description="The companion file of a model that needs one: a tokenizer or an audio codec."
    )
    threads: int | None = Field(default=None, ge=1, le=256, description="CPU threads of a session; by default up to 8.")
    gpu: bool = Field(
        default=False,
        description="Whether a GPU computes, which needs a wheel of CrispASR's own index; that of PyPI has none.",
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """An open session of the library, and what is known of its model.

    `backend` is the architecture in use, `verbs` what the library says it can do ("translate", "tts", …), `path` the
    file of the weights, `threads` how many the session computes with.
    """

    session: Any
    backend: str
    verbs: frozenset[str]
    path: Path
    threads: int


def open_session(context: EngineContext, options: CrispasrOptions) -> Opened:
    """Open the model of a context and its companion.

    Raises ConfigurationError for a missing file or an architecture that the library lacks, ModelBroken for weights that
    it cannot load. No message names the folder.
    """
    # Where ggml gives up it would start a debugger to tell where it was, which takes seconds.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    # Threads that wait for each other by spinning take the cores from everybody, themselves included.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import crispasr  # noqa: PLC0415 - in worker processes only

    path = model_file(context, options)
    codec = companion(path, options.codec, "codec")
    # Some names stand for an architecture with another name, and only one of the two lists has them.
    known = {*crispasr.Session.available_backends(), *crispasr.backend_capabilities()}
    if options.backend and options.backend not in known:
        raise ConfigurationError(f"crispasr has no backend {options.backend!r}; there are: {', '.join(sorted(known))}")
    threads = options.threads or context.threads or min(usable_cores(), _MAX_THREADS)
    name = context.model_id or path.name
    for file in (path, codec):
        if file is not None and (file.suffix == ".gguf" or gguf.is_ggml(file)):
            _check_whole(file)
    with foreign_errors(f"load {name}", ModelBroken, path.parent):
        session = crispasr.Session(str(path), n_threads=threads, backend=options.backend, use_gpu=options.gpu)
    if codec is not None:
        with foreign_errors(f"load {codec.name} with {name}", ModelBroken, path.parent):
            session.set_codec_path(str(codec))
    backend = str(session.backend)
    return Opened(session, backend, verbs(crispasr, backend), path, threads)


def _check_whole(path: Path) -> None:
    """Raise ModelBroken for a file that is not whole: at some of those the library hangs, or ends its process."""
    try:
        gguf.check(path)
    except (OSError, gguf.BrokenHeader) as error:
        raise ModelBroken(f"{path.name} is damaged: {error}") from error


def verbs(library: Any, backend: str) -> frozenset[str]:
    """Return what the library says an architecture can do; nothing for one that it does not list."""
    try:
        return frozenset(library.backend_capabilities(_RUN_BY.get(backend, backend)))
    except ValueError:
        return frozenset()


def model_file(context: EngineContext, options: CrispasrOptions) -> Path:
    """Return the file of the weights: the model itself, or the only one in its folder that is no companion."""
    model = context.model
    if model is None:
        raise ConfigurationError("the crispasr engine needs a ggml or GGUF file, or the folder of one")
    if model.is_file():
        return model
    own = [given for value in vars(options).values() if isinstance(value, Path) for given in [model / value]]
    found = [path for path in sorted(model.glob("*.gguf")) + sorted(model.glob("ggml*.bin")) if path not in own]
    if not found:
        raise ModelBroken(f"the folder of {context.model_id or 'the model'} has no *.gguf and no ggml*.bin")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigurationError(f"which of {names} is the model? Name its file, or the others in its options")
    return found[0]


def companion(model: Path, given: Path | None, option: str) -> Path | None:
    """Return the file that an option names, relative to the folder of the model's file."""
    if given is None:
        return None
    path = model.parent / given
    if not path.is_file():
        raise ConfigurationError(f"option {option!r} of the engine crispasr: there is no file {given}")
    return path


@contextmanager
def foreign_errors(
    doing: str, error: type[VoiceStackError], folder: Path | None = None, *, param: str | None = None
) -> Iterator[None]:
    """Turn the library's errors into one of ours, without the path of the `folder`."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as raised:
        reason = re.sub(r" libcrispasr was built with:.*", "", str(raised), flags=re.DOTALL)
        if folder is not None:
            reason = reason.replace(f"{folder}/", "")
        raise error(f"crispasr cannot {doing}: {reason}", param=param) from raised


def whisper_languages(path: Path, session: Any) -> tuple[str, ...]:
    """Return the codes that a Whisper file knows, English alone for the models that were trained on nothing else."""
    library = session._lib  # noqa: SLF001 - the binding gives no other way to the codes
    count = int(library.whisper_lang_max_id()) + 1
    if (tokens := gguf.whisper_words(path)) is not None:
        if tokens < _WHISPER_TEXT_TOKENS + 100:
            return ("en",)
        count = min(count, tokens - _WHISPER_TEXT_TOKENS - 1)
    import ctypes  # noqa: PLC0415 - with the library

    code = library.whisper_lang_str
    code.argtypes, code.restype = [ctypes.c_int], ctypes.c_char_p
    return tuple(code(number).decode("ascii") for number in range(count))
