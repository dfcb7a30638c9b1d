"""A process that holds faster-whisper and nothing else: `python -m bench.faster_whisper_child JSON`.

One line of JSON comes in per file, {"id", "path"}, and one goes out when it is transcribed, {"id", "text"}, by as many
threads as the model has workers.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel


def main(config: dict[str, Any]) -> None:
    """Load the model, say so, and answer until standard input ends."""
    model = WhisperModel(
        config["model"],
        device="cpu",
        compute_type=config["compute_type"],
        cpu_threads=config["threads"],
        num_workers=config["workers"],
    )
    batch_size, options = config["batch_size"], config["options"]
    # The pipeline keeps a position of its own between segments, so it can be used by one thread only.
    transcribe = BatchedInferencePipeline(model).transcribe if batch_size else model.transcribe
    if batch_size:
        options = {**options, "batch_size": batch_size}
    writing = threading.Lock()

    def answer(call: dict[str, Any]) -> None:
        try:
            segments, _ = transcribe(call["path"], **options)
            found = {"text": "".join(segment.text for segment in segments)}
        except Exception as error:  # noqa: BLE001 - told to the parent, which counts it
            found = {"error": repr(error)}
        with writing:
            print(json.dumps({"id": call["id"], **found}), flush=True)

    with ThreadPoolExecutor(config["workers"]) as threads:
        print("ready", flush=True)
        for line in sys.stdin:
            threads.submit(answer, json.loads(line))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
