"""Count word errors: [[said, ...], [heard, ...]] comes in as JSON, {"edits": ..., "words": ...} goes out.

Runs in an environment of its own, so it imports nothing of ours; bench/words.py starts it.
"""

from __future__ import annotations

import json
import sys

import jiwer  # type: ignore[import-not-found]
from whisper_normalizer.english import EnglishTextNormalizer  # type: ignore[import-not-found]


def main() -> None:
    """Compare the texts of standard input."""
    said, heard = json.load(sys.stdin)
    normal = EnglishTextNormalizer()
    pairs = [(one, other) for one, other in zip(map(normal, said), map(normal, heard), strict=True) if one]
    found = jiwer.process_words([one for one, _ in pairs], [other for _, other in pairs])
    edits = found.substitutions + found.deletions + found.insertions
    print(json.dumps({"edits": edits, "words": edits - found.insertions + found.hits}))


if __name__ == "__main__":
    main()
