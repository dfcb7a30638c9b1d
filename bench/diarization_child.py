"""A process that holds one diarization engine, as a worker has it: `python -m bench.diarization_child JSON`.

One line of JSON comes in per call, {"method", "path", "frames"?}, and one goes out when it is done: what the worker
answers, the seconds and the processor seconds it took, and the highest memory of the process so far in MB. The method
`facts` has no path: its answer is what the worker says after loading. Audio that is refused has the answer null.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.diarization.worker import DiarizationWorker
from bench.processes import memory
from core.errors import InvalidAudio
from utils.audio import wav


def call(worker: DiarizationWorker, question: dict[str, Any]) -> dict[str, Any]:
    """Have the worker do something with a file, or with its first `frames` samples."""
    pcm = wav.probe(Path(question["path"]))
    if pcm is None:
        raise ValueError(f"{question['path']} is not plain PCM")
    pcm = replace(pcm, frames=min(pcm.frames, question.get("frames") or pcm.frames))
    started, used = time.perf_counter(), time.process_time()
    try:
        answer = list(worker.call(question["method"], {"pcm": pcm.to_dict()}))[-1].data
    except InvalidAudio:
        answer = None
    spent = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
    return {"answer": answer, **spent, "peak_mb": memory(os.getpid()).peak}


def main(config: dict[str, Any]) -> None:
    """Load the engine that the configuration names, say so, and answer until standard input ends."""
    if config["one_core"]:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    worker = DiarizationWorker(config["engine"])
    facts = worker.load()
    print("ready", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        answer = facts if question["method"] == "facts" else call(worker, question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
