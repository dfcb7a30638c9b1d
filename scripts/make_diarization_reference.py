"""Write src/asr/diarization/engines/community1_reference.json: what the pulled models answer to a known signal.

    .venv/bin/python scripts/make_diarization_reference.py "$(voice-stack models path diarization-community1)"

Only for another signal or other models; run it on a plain CPU, and look at what it prints.
"""

from __future__ import annotations

import sys
from pathlib import Path

import voice_stack  # noqa: F401 - puts asr, tts, core and utils on the path, so it comes first
from asr.diarization.networks import Segmentation, SpeakerNetwork
from asr.diarization.reference import STORED, Reference
from core.engines import EngineContext

LEAST_SPEECH = 0.3
"""Share of the frames in which somebody has to speak: an answer without speech would prove little."""


def main(folder: Path) -> None:
    """Ask the models of a folder and write their answers."""
    context = EngineContext(model=folder, threads=1)
    segment = Segmentation(folder / "segmentation.ort", context)
    found = Reference.of(segment, SpeakerNetwork(folder / "embedding.ort", context).embed)
    by_voice = found.active.mean(axis=0).round(2).tolist()
    print(f"share of the frames by voice: {by_voice}; vector of {len(found.vector)} numbers")
    if found.active.any(axis=1).mean() < LEAST_SPEECH:
        sys.exit("the models hear hardly any speech in the signal: nothing is written")
    found.write()
    print(f"wrote {STORED}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
