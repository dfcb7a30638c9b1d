"""What a model may take of MODEL_MEMORY_MB."""

from __future__ import annotations

from core import errors

MIB = 1 << 20


def check(name: str, needs: int, allowed: int) -> None:
    """Raise InsufficientMemory, which is final, for a model that needs more bytes than allowed; 0 is no limit."""
    if allowed and needs > allowed:
        error = errors.InsufficientMemory(
            f"the model {name} needs {needs // MIB} MiB at least; MODEL_MEMORY_MB allows {allowed // MIB}"
        )
        error.is_final = True
        raise error
