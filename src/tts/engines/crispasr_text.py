"""What CrispASR is given to say, and what reads it aloud: some of its architectures turn text into phonemes themselves.

They ask libespeak-ng; where that is missing or has no answer, they put the text into a shell's command line between
quotation marks, as it is, and where that fails too, they download dictionaries.
"""

from __future__ import annotations

import ctypes
import os
import re

# Whatever a shell would not leave alone between quotation marks; a price is.
_SHELL = re.compile(r"\\|\$(?![\s\d]|$)")
_QUOTES = str.maketrans('"`', "''")


def load_espeak() -> None:
    """Load the libespeak-ng of our own packages: the library finds it by its name once it is in the process."""
    import espeakng_loader

    os.environ["CRISPASR_ESPEAK_DATA_PATH"] = espeakng_loader.get_data_path()
    ctypes.CDLL(espeakng_loader.get_library_path())


def harmless(text: str) -> str:
    """Return text on one line that neither a shell nor an option's parser takes for anything else."""
    said = " ".join(_SHELL.sub(" ", text.translate(_QUOTES).replace("\0", " ")).split())
    return f" {said}" if said.startswith("-") else said
