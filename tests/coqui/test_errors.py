"""Only errors of core.errors leave the engine, whatever torch and Coqui raise."""

from __future__ import annotations

# ruff: noqa: PLC0415 - torch is imported in functions: collecting must work without it
import pickle
from collections.abc import Iterator

import pytest

from core.errors import (
    ConfigurationError,
    InsufficientMemory,
    InternalError,
    NotSupported,
    VoiceNotFound,
    VoiceStackError,
)
from tts.engines.coqui_model import translated


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (MemoryError(), InsufficientMemory),
        (pickle.UnpicklingError("Weights only load failed"), ConfigurationError),
        (ModuleNotFoundError("No module named 'cutlet'"), NotSupported),
        (AssertionError("at most 400 tokens"), InternalError),
        (RuntimeError("size mismatch"), InternalError),
        (KeyError("model"), InternalError),
        (VoiceNotFound("no such voice"), VoiceNotFound),
    ],
)
def test_what_becomes_of_errors(raised: Exception, becomes: type[VoiceStackError]) -> None:
    with pytest.raises(becomes), translated("speaking", InternalError):
        raise raised


def test_a_full_gpu_is_not_a_bug() -> None:
    import torch

    with pytest.raises(InsufficientMemory), translated("speaking", InternalError):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_the_message_keeps_what_the_library_said_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InternalError) as caught, translated("speaking", InternalError):
        raise ValueError("/home/somebody/secret.txt")
    assert "secret" not in caught.value.message
    assert "secret" in caplog.text


def test_closing_a_generator_is_no_error() -> None:
    def numbers() -> Iterator[int]:
        with translated("speaking", InternalError):
            yield from (1, 2)

    counting = numbers()
    next(counting)
    counting.close()  # type: ignore[attr-defined]
    assert next(counting, None) is None
