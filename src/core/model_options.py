"""Options of a model, in either of their spellings: a table, or a list of "name:value" as LocalAI writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def parse(given: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return options by name, in small letters; what is behind the first ":" of an item is its value, a text.

    Raises ValueError for an item without a name or a ":", and for a name that is there twice.
    """
    if isinstance(given, Mapping):
        return _by_name([(str(name), value) for name, value in given.items()])
    if isinstance(given, str) or not isinstance(given, Sequence):
        # Not TypeError, which pydantic would not report.
        raise ValueError('options are a table, or a list such as ["backend:parakeet"]')  # noqa: TRY004
    return _by_name([_split(item) for item in given])


def complaint(error: Mapping[str, Any], engine: str, known: Iterable[str]) -> str:
    """Return what pydantic has against an option of an engine that has the `known` ones."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown option {name!r} of the engine {engine}: it has {', '.join(known) or 'none'}"
    return f"option {name!r} of the engine {engine}: {error['msg'].removeprefix('Value error, ')}"


def _split(item: object) -> tuple[str, str]:
    name, colon, value = str(item).partition(":")
    if not (isinstance(item, str) and colon):
        raise ValueError(f'the option {str(item)!r} is not of the form "name:value"')
    return name, value.strip()


def _by_name(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for written, value in pairs:
        name = written.strip().lower()
        if not name:
            raise ValueError(f"an option without a name has the value {str(value)!r}")
        if name in found:
            raise ValueError(f"the option {name!r} is given twice")
        found[name] = value
    return found
