"""An HTML form once it is read, and the many ways in which clients write lists and objects into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from utils.uploads import UploadedFile

__all__ = ["Form", "UploadedFile", "flag"]

MAX_ITEMS = 1000
"""Of one array. Each item costs a hundred times its size while it is read and checked."""
_FLAGS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


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

        Only a value that stands alone is taken as JSON or cut at commas. It is cut under the bare name only, because
        clients that write `name[]` mean one item, and a data URL never is.
        Raises ValueError for a JSON array that holds more than strings and numbers, and for more than MAX_ITEMS items.
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
        if len(values) != 1:
            return values
        is_bare = any(key == name and value.strip() for key, value in self.fields)
        return _items(name, values[0], is_bare=is_bare)

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


def flag(value: object) -> bool:
    """Return what a yes-or-no field says. Raises ValueError, with a message fit for a client, for anything else."""
    found = value if isinstance(value, bool) else _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise ValueError("use true or false (or 1, 0, yes, no, on, off)")
    return found


def _items(name: str, text: str, *, is_bare: bool) -> list[str]:
    is_array = text.lstrip().startswith("[")
    # In JSON each data URL has a comma of its own.
    if (is_bare or is_array) and text.count(",") >= 2 * MAX_ITEMS:
        raise ValueError(f"{name} has more than {MAX_ITEMS} items")
    if is_array:
        try:
            loaded = orjson.loads(text)
        except orjson.JSONDecodeError:
            loaded = None  # a word like "[music]" is no JSON and means itself
        if isinstance(loaded, list):
            if not all(isinstance(item, str | int | float) for item in loaded):
                raise ValueError(f"{name} must be a list of strings")
            return [str(item) for item in loaded if str(item).strip()]
    if not is_bare or text.lstrip().startswith("data:"):
        return [text.strip()]
    return [item.strip() for item in text.split(",") if item.strip()]


def _object(name: str, text: str) -> Mapping[str, object]:
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError:
        loaded = None
    if isinstance(loaded, dict):
        return loaded
    raise ValueError(f"{name} must be a JSON object")
