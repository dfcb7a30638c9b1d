"""An HTML form once it is read, and the many ways in which clients write lists and objects into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file part, spooled to `path`, which was named by us.

    `field` is the part's name; `filename` and `content_type` are the client's claims, possibly empty, possibly lies.
    `size` is in bytes, `sha256` the hex digest of the content.
    """

    field: str
    filename: str
    content_type: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Form:
    """Fields and files in the order in which they arrived, duplicates included.

    An empty value counts as absent in all three readers.
    """

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[UploadedFile] = field(default_factory=list)

    def scalar(self, name: str) -> str | None:
        """Return the last value of `name` that is not blank, None without one."""
        return next((value for key, value in reversed(self.fields) if key == name and value.strip()), None)

    def array(self, name: str) -> list[str]:
        """Return the items of `name`: repeated `name` or `name[]`, `name[0]`..., one JSON array, or a comma list.

        Only a value that stands alone is taken as JSON or cut at commas, and a data URL never is.
        Raises ValueError for a JSON array that holds more than strings and numbers.
        """
        plain: list[str] = []
        indexed: list[tuple[int, str]] = []
        pattern = re.compile(re.escape(name) + r"(?:\[(\d{0,6})\])?")
        for key, value in self.fields:
            match = pattern.fullmatch(key)
            if match is None or not value.strip():
                continue
            if match[1]:
                indexed.append((int(match[1]), value))
            else:
                plain.append(value)
        values = plain + [value for _, value in sorted(indexed, key=lambda item: item[0])]
        return _items(name, values[0]) if len(values) == 1 else values

    def mapping(self, name: str) -> dict[str, object] | None:
        """Return the object `name`, written as `name[key]`, `name.key` or one JSON object; None when absent.

        Values are strings, or whatever the JSON holds. Raises ValueError when `name` is no JSON object.
        """
        found: dict[str, object] = {}
        if (text := self.scalar(name)) is not None:
            found |= _object(name, text)
        pattern = re.compile(re.escape(name) + r"(?:\[([^\[\]]+)\]|\.([^.]+))")
        for key, value in self.fields:
            if (match := pattern.fullmatch(key)) and value.strip():
                found[match[1] or match[2]] = value
        return found or (None if text is None else {})


def _items(name: str, text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            loaded = orjson.loads(text)
        except orjson.JSONDecodeError:
            loaded = None  # a word like "[music]" is no JSON and means itself
        if isinstance(loaded, list):
            if not all(isinstance(item, str | int | float) for item in loaded):
                raise ValueError(f"{name} must be a list of strings")
            return [str(item) for item in loaded if str(item).strip()]
    if text.lstrip().startswith("data:"):
        return [text]
    return [item.strip() for item in text.split(",") if item.strip()]


def _object(name: str, text: str) -> Mapping[str, object]:
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError:
        loaded = None
    if isinstance(loaded, dict):
        return loaded
    raise ValueError(f"{name} must be a JSON object")
