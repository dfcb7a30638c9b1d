"""A process that holds one Whisper model on one device: `python -m bench.gpu_child JSON`; bench/gpu.py asks it.

One line of JSON comes in per call, {"call", "paths", "batch"}, and one goes out, {"seconds", "texts"}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio, pad_or_trim
from faster_whisper.tokenizer import Tokenizer

WINDOW_SECONDS = 30


class Model:
    """A model with one decoder. All ways to use it take files of at most 30 s and return their texts."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._model = WhisperModel(
            config["model"],
            device=config["device"],
            compute_type=config["compute_type"],
            cpu_threads=config["threads"],
        )
        self._options: Mapping[str, Any] = config["options"]
        multilingual = self._model.model.is_multilingual
        self._tokenizer = Tokenizer(
            self._model.hf_tokenizer, multilingual, task="transcribe", language=self._options["language"]
        )

    def windows(self, paths: Sequence[str], batch: int) -> tuple[float, list[str]]:
        """Encode and decode so many windows of 30 s in each call of CTranslate2; making spectrograms is not timed."""
        features = [self._features(path) for path in paths]
        prompt = self._model.get_prompt(self._tokenizer, [], without_timestamps=True)
        texts: list[str] = []
        started = time.perf_counter()
        for at in range(0, len(features), batch):
            some = np.ascontiguousarray(np.stack(features[at : at + batch]))
            encoded = self._model.model.encode(ctranslate2.StorageView.from_array(some))
            found = self._model.model.generate(
                encoded, [prompt] * len(some), beam_size=self._options["beam_size"], max_length=448
            )
            texts += [self._tokenizer.decode(one.sequences_ids[0]) for one in found]
        return time.perf_counter() - started, texts

    def transcribe(self, paths: Sequence[str], batch: int) -> tuple[float, list[str]]:  # noqa: ARG002 - one by one
        """Transcribe one file after the other by the library's own call, as a program without a service would."""
        texts: list[str] = []
        started = time.perf_counter()
        for path in paths:
            segments, _ = self._model.transcribe(path, **self._options)
            texts.append("".join(segment.text for segment in segments))
        return time.perf_counter() - started, texts

    def _features(self, path: str) -> Any:
        extractor = self._model.feature_extractor
        samples = decode_audio(path)[: WINDOW_SECONDS * extractor.sampling_rate]
        return pad_or_trim(extractor(samples), WINDOW_SECONDS * extractor.sampling_rate // extractor.hop_length)


def main(config: dict[str, Any]) -> None:
    """Load the model, say so, and answer until standard input ends."""
    model = Model(config)
    calls: Mapping[str, Callable[[Sequence[str], int], tuple[float, list[str]]]] = {
        "windows": model.windows,
        "transcribe": model.transcribe,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seconds, texts = calls[asked["call"]](asked["paths"], asked["batch"])
        print(json.dumps({"seconds": seconds, "texts": texts}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
