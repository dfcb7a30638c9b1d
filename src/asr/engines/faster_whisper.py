"""Whisper through faster-whisper (CTranslate2): int8 on a CPU, float16 on a GPU, from a folder, never from a hub."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from asr.engines.faster_whisper_decoding import Decoder, foreign_errors
from asr.engines.faster_whisper_options import FasterWhisperOptions
from asr.engines.faster_whisper_prompt import Prompts
from asr.engines.faster_whisper_window import FRAMES_PER_SECOND, Features, WhisperWork, padded_frames
from asr.engines.whisper_family import WhisperFamily, spoken_tokens
from asr.engines.whisper_family_options import decoding
from asr.transcript import TranscribeOptions
from core.devices import usable_cores
from core.errors import ConfigurationError, ModelBroken

_FILES = ("config.json", "model.bin", "tokenizer.json")
_LONGEST_SECONDS = 30.0
_WINDOW_SECONDS = 20.0  # heard as well as longer ones, in less time and memory: attention grows with the square
_MAX_REPLICAS = 16
_MAX_INTRA_THREADS = 4
_CPU_BATCH, _GPU_BATCH = 4, 16
_CPU_FRAMES = 3600  # so long are the windows of one call together: longer ones, which take much memory, go alone
_WARM_UP_TOKENS = 8
# Distilled models were trained without translation and answer in the language that was spoken.
_TRANSCRIBES_ONLY = re.compile(r"turbo|distil", re.IGNORECASE)


class FasterWhisperEngine(WhisperFamily):
    """Any Whisper model in CTranslate2's format; a window is encoded no longer than its speech and some padding."""

    Options = FasterWhisperOptions
    options: FasterWhisperOptions
    requires = ("faster_whisper", "ctranslate2")
    runtime = "ctranslate2"

    threads: int = 1
    """CPU threads of one call."""
    _decoder: Decoder

    def load(self) -> None:
        """Load the weights, then decode noise at the shapes that will be used.

        Raises ConfigurationError for a folder or device that cannot be used, InsufficientMemory.
        """
        from faster_whisper import transcribe as library

        on_cpu = self.context.device == "cpu"
        # Threads of one decoder wait for each other at every token: several decoders make more of the same cores.
        alone = self.context.workers == 1
        self.threads = self.context.threads or (min(_MAX_INTRA_THREADS, usable_cores()) if alone else 1)
        fitting = max(1, min(usable_cores() // self.threads, _MAX_REPLICAS)) if on_cpu else 1
        self.slots = self.context.workers or fitting
        self.batch_size = self.options.batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH)
        self.room = _CPU_FRAMES if on_cpu else None
        self.window_seconds = _LONGEST_SECONDS if self.options.window_pad_seconds is None else _WINDOW_SECONDS
        folder = self._folder()
        try:
            with foreign_errors():
                self._model = library.WhisperModel(
                    str(folder),
                    device="cpu" if on_cpu else "cuda",  # ROCm builds call theirs "cuda" too
                    device_index=self.context.device_index,
                    compute_type=self._compute_type(),
                    cpu_threads=self.threads,
                    num_workers=self._replicas(),
                )
        except (RuntimeError, ValueError) as error:
            reason = str(error).replace(str(folder), self._name)
            raise ModelBroken(f"faster-whisper cannot load {self._name}: {reason}") from error
        self._extractor = self._model.feature_extractor
        self.languages = self._known_languages()
        usual = padded_frames(round(self.window_seconds * FRAMES_PER_SECOND), self.options.window_pad_seconds)
        self._decoder = Decoder(library, self._model, self.options, on_cpu=on_cpu, slots=self.slots, usual_frames=usual)
        self._prompts = Prompts(self._decoder.tokenizer(None, "transcribe"))
        self._warm_up()

    def close(self) -> None:
        """Drop the model; what the libraries keep comes back when the process ends."""
        self._model = self._decoder = cast("Any", None)

    @property
    def compute_type(self) -> str:
        """The number format in use; CTranslate2 may have replaced the one asked for."""
        return str(self._model.model.compute_type)

    @property
    def transcribes_only(self) -> bool:
        """Whether the model's name says that it was trained without translation."""
        return bool(_TRANSCRIBES_ONLY.search(self._name))

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Encode and decode windows of noise in as few calls as ever, with as many tokens as `seconds` of speech."""
        work = self._noise(seconds)
        at_once = windows if self.room is None else max(1, self.room // work.frames)
        for first in range(0, windows, at_once):
            self._run([work] * min(at_once, windows - first), tokens=spoken_tokens(seconds))

    def _work(self, features: Features, options: TranscribeOptions, **values: Any) -> WhisperWork:
        frames = padded_frames(features.shape[-1], self.options.window_pad_seconds)
        how = decoding(self.options, options)
        return WhisperWork(features=features, frames=frames, decoding=how, task=options.task, **values)

    def _replicas(self) -> int:
        """Return the slots and, where cores can be shared, one more for what shall not wait for them."""
        return self.slots + 1 if self.context.device == "cpu" else self.slots

    def _folder(self) -> Path:
        folder = self.context.model
        if folder is None:
            raise ConfigurationError("faster-whisper needs the folder of a Whisper model in CTranslate2's format")
        # Without tokenizer.json the library would go and ask the hub for one.
        if missing := [name for name in _FILES if not (folder / name).is_file()]:
            raise ModelBroken(f"the folder of {self._name} lacks {', '.join(missing)}")
        return folder

    def _compute_type(self) -> str:
        if self.context.compute_type != "default":
            return self.context.compute_type
        return "int8" if self.context.device == "cpu" else "float16"

    def _known_languages(self) -> tuple[str, ...]:
        """Return the codes that have a token: Cantonese has none before large-v3."""
        token = self._model.hf_tokenizer.token_to_id
        return tuple(code for code in self._model.supported_languages if code == "en" or token(f"<|{code}|>"))

    def _run(self, works: list[WhisperWork], *, tokens: int) -> bool:
        """Encode, and write exactly so many tokens; return whether what was computed are finite numbers."""
        encoding = self._decoder.encode(works)
        tokenizer = self._decoder.tokenizer("en", "transcribe")
        results = self._decoder.generate(
            works,
            encoding,
            max_length=2 * tokens,
            suppress_tokens=[*self._decoder.suppressed, tokenizer.eot],
        )
        return all(np.isfinite(result.scores[0]) for result in results)

    def _warm_up(self) -> None:
        """Use every replica, then one at the largest shape: it takes the memory that they will share."""
        short, full = self._noise(1.0), [self._noise(self.window_seconds)]
        if self.context.device != "cpu":
            full *= self.batch_size
        replicas = self._replicas()
        with ThreadPoolExecutor(replicas) as pool:
            fine = list(pool.map(lambda _: self._run([short], tokens=_WARM_UP_TOKENS), range(replicas)))
        if not (self._run(full, tokens=_WARM_UP_TOKENS) and all(fine)):
            raise ModelBroken(f"{self._name} computes nonsense: its weights are damaged")
