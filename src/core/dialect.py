"""How a service speaks to clients that are not OpenAI's: errors as text, a key as a password, by the path."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The paths of clients that read errors as text, and of those that know no keys but a password."""

    text: re.Pattern[str] | None = None
    basic: re.Pattern[str] | None = None

    def speaks_text(self, path: str) -> bool:
        """Whether errors on this path are plain text."""
        return bool(self.text and self.text.fullmatch(path))

    def may_use_basic(self, path: str) -> bool:
        """Whether a key is also taken as the password of HTTP Basic, as in http://x:KEY@host:5001."""
        return bool(self.basic and self.basic.fullmatch(path))


OPENAI = Dialect()
WHISPER_WEBSERVICE = Dialect(
    # Bazarr reads the body of an error as it would read an answer.
    text=re.compile(r"/(asr|detect-language)|/bazarr(/.*)?"),
    basic=re.compile(r"/(asr|detect-language|status)|/bazarr(/.*)?"),
)
