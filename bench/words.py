"""Word errors, counted by jiwer after Whisper's English normaliser, both in an environment of `make bench-env`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.environments import python_of

CHILD = Path(__file__).resolve().parent / "words_child.py"


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Words that are wrong, missing or too many, of so many words that were said."""

    edits: int
    words: int

    @property
    def percent(self) -> float:
        """The word error rate in percent; 0 where nothing was said."""
        return 100 * self.edits / self.words if self.words else 0.0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.edits + other.edits, self.words + other.words)


def count(said: Sequence[str], heard: Sequence[str]) -> WordErrors | None:
    """Compare what was said with what was heard, clip by clip; None without the environment."""
    python = python_of("words")
    if python is None:
        return None
    pairs = json.dumps([list(said), list(heard)])
    done = subprocess.run([python, "-P", CHILD], input=pairs, check=True, capture_output=True, text=True)
    return WordErrors(**json.loads(done.stdout))
