"""Whisper through faster-whisper (CTranslate2): int8 on a CPU, float16 on a GPU, from a folder, never from a hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from asr.engine import WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.faster_whisper_decoding import Decoder, foreign_errors
from asr.engines.faster_whisper_options import Decoding, FasterWhisperOptions, decoding
from asr.engines.faster_whisper_prompt import Prompts
from asr.engines.faster_whisper_window import FRAMES_PER_SECOND, WhisperWork, padded_frames
from asr.engines.log_mel import log_mel
from asr.engines.whisper_languages import ENGLISH_ONLY, wanted_languages
from asr.transcript import LanguageGuess, TranscribeOptions
from core.devices import usable_cores
from core.errors import ConfigurationError, ModelBroken, NotSupported, UnsupportedTask
from utils.audio.pcm import Audio, Samples

_FILES = ("config.json", "model.bin", "tokenizer.json")
_LONGEST_SECONDS = 30.0
_WINDOW_SECONDS = 20.0  # heard as well as longer ones, in less time and memory: attention grows with the square
_MAX_REPLICAS = 16
_MAX_INTRA_THREADS = 4
_CPU_BATCH, _GPU_BATCH = 4, 16
_CPU_FRAMES = 3600  # so long are the windows of one call together: longer ones, which take much memory, go alone
_WARM_UP_TOKENS = 8
_TOKENS_PER_SECOND = 4
_MIN_SECONDS = 0.1  # nothing can be said in less, and Whisper makes something up
# Distilled models were trained without translation and answer in the language that was spoken.
_TRANSCRIBES_ONLY = re.compile(r"turbo|distil", re.IGNORECASE)


class FasterWhisperEngine(WindowEngine):
    """Any Whisper model in CTranslate2's format; a window is encoded no longer than its speech and some padding."""

    Options = FasterWhisperOptions
    options: FasterWhisperOptions
    requires = ("faster_whisper", "ctranslate2")
    runtime = "ctranslate2"
    gives_logprobs = True

    threads: int = 1
    """CPU threads of one call."""

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
    def serial(self) -> bool:
        """Whether a window sees the text before it."""
        return self.options.condition_on_previous_text

    @property
    def multilingual(self) -> bool:
        """Whether the language is detected on every window."""
        return self.options.multilingual

    @property
    def carries_prompt(self) -> bool:
        """Whether every window sees the prompt."""
        return self.options.carry_initial_prompt

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, or UnsupportedParameter (`language`, `languages`)."""
        if options.task == "translate" and (self._speaks_english_only or _TRANSCRIBES_ONLY.search(self._name)):
            raise UnsupportedTask(f"{self._name} cannot translate; use a multilingual Whisper model", param="task")
        self._wanted_languages(options)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> WhisperWork:
        """Return a window of at most 30 s as its spectrogram and what the decoder is to be told."""
        require_finite(audio)
        language, candidates = self._wanted_languages(options)
        previous = previous if self.serial else ()
        if self.serial and not self.carries_prompt:
            # Text like any other that comes before: it stays until a high temperature takes it away.
            previous = (*self._prompts.before(options.prompt), *previous)
            options = replace(options, prompt=None)
        return self._work(
            audio.samples,
            decoding(self.options, options),
            task=options.task,
            language=language,
            candidates=candidates,
            context=self._prompts.context(options, previous),
            previous=previous,
        )

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Decode windows whose keys are equal. Raises InsufficientMemory, DeviceOutOfMemory."""
        return self._decoder.decode(cast("Sequence[WhisperWork]", works))

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of the first 30 seconds; NotSupported for an English-only model."""
        require_finite(audio)
        if self._speaks_english_only:
            raise NotSupported(f"{self._name} knows English only and cannot detect a language")
        if audio.duration < _MIN_SECONDS:
            return LanguageGuess(None)
        work = self._work(audio.samples, decoding(self.options, TranscribeOptions()))
        return self._decoder.guess_language(work)

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Encode and decode windows of noise in as few calls as ever, with as many tokens as `seconds` of speech."""
        work = self._noise(seconds)
        at_once = windows if self.room is None else max(1, self.room // work.frames)
        for first in range(0, windows, at_once):
            self._run([work] * min(at_once, windows - first), tokens=max(1, round(seconds * _TOKENS_PER_SECOND)))

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    @property
    def _speaks_english_only(self) -> bool:
        return self.languages == ENGLISH_ONLY

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

    def _wanted_languages(self, options: TranscribeOptions) -> tuple[str | None, tuple[str, ...]]:
        return wanted_languages(options, self.languages, self._name)

    def _work(self, samples: Samples, how: Decoding, **values: Any) -> WhisperWork:
        extractor = self._model.feature_extractor
        features = log_mel(extractor, samples[: extractor.n_samples])[:, :-1]
        frames = padded_frames(features.shape[-1], self.options.window_pad_seconds)
        return WhisperWork(features=features, frames=frames, decoding=how, **values)

    def _noise(self, seconds: float) -> WhisperWork:
        samples = np.random.default_rng(0).normal(0.0, 0.01, round(seconds * self.sample_rate)).astype(np.float32)
        return self._work(samples, decoding(self.options, TranscribeOptions(temperature=(0.0,))), language="en")

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
