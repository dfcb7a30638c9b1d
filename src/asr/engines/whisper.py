"""Whisper through openai-whisper (PyTorch): float32 on a CPU, float16 on a GPU, from a checkpoint, never downloaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from asr.engine import WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.faster_whisper_options import Decoding
from asr.engines.faster_whisper_prompt import Prompts
from asr.engines.faster_whisper_window import FULL_FRAMES
from asr.engines.log_mel import log_mel
from asr.engines.whisper_checkpoint import checkpoint_file, load_checkpoint, make_half
from asr.engines.whisper_decoding import TorchDecoder, TorchWork
from asr.engines.whisper_languages import ENGLISH_ONLY, wanted_languages
from asr.engines.whisper_options import WhisperOptions
from asr.transcript import LanguageGuess, TranscribeOptions
from core.devices import usable_cores
from core.errors import ConfigurationError, DeviceOutOfMemory, ModelBroken, NotSupported, UnsupportedTask
from utils.audio.pcm import Audio, Samples

log = logging.getLogger(__name__)

_MIN_SECONDS = 0.1  # nothing can be said in less, and Whisper makes something up
_GPU_BATCH = 8
_WARM_UP_TOKENS = 8
_TOKENS_PER_SECOND = 4


class WhisperEngine(WindowEngine):
    """Any Whisper in openai-whisper's format (*.pt). One call at a time: the library hooks into the model's layers."""

    Options = WhisperOptions
    options: WhisperOptions
    requires = ("whisper", "torch")
    extra = "whisper"
    runtime = "torch"
    gives_logprobs = True

    compute_type: str = "float32"
    """The number format in use."""

    def load(self) -> None:
        """Load the weights, then decode and align noise.

        Raises ConfigurationError for a device or number format that cannot be used, ModelBroken for the checkpoint.
        """
        if self.context.device == "mps":
            log.warning("openai-whisper does not run on Apple's GPU; %s is loaded on the CPU", self._name)
            self.context = replace(self.context, device="cpu")
        self.compute_type = self._compute_type()
        self.batch_size = self.options.batch_size or (1 if self.context.device == "cpu" else _GPU_BATCH)
        file = checkpoint_file(self.context.model, self._name)
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        if self.context.cache:
            # What numba compiles for the alignment takes seconds; numba reads this when it is imported.
            os.environ.setdefault("NUMBA_CACHE_DIR", str(self.context.cache / "numba"))
        import torch
        import whisper
        from whisper import timing

        for compiled in (timing.backtrace, timing.dtw_cpu):
            with suppress(RuntimeError, AttributeError):  # no folder for it can be written
                compiled.enable_caching()
        if self.context.device == "cpu":
            torch.set_num_threads(self.context.threads or usable_cores())
        model = load_checkpoint(file, self._name)
        half = self.compute_type == "float16"
        if half:
            make_half(model)
        try:
            # ROCm's devices are called cuda too.
            model.to("cpu" if self.context.device == "cpu" else f"cuda:{self.context.device_index}")
        except torch.OutOfMemoryError as error:
            raise DeviceOutOfMemory(f"the device has no memory left for {self._name}") from error
        self._dims, audio = model.dims, whisper.audio
        self._extractor = SimpleNamespace(
            n_fft=audio.N_FFT,
            hop_length=audio.HOP_LENGTH,
            mel_filters=audio.mel_filters("cpu", model.dims.n_mels).numpy(),
        )
        known = tuple(whisper.tokenizer.LANGUAGES)[: model.num_languages]
        self.languages = known if model.is_multilingual else ENGLISH_ONLY
        self._decoder = TorchDecoder(model, self.options, half=half)
        self._prompts = Prompts(self._decoder.tokenizer(None, "transcribe"))
        self._warm_up()

    def close(self) -> None:
        """Drop the model; what the library keeps comes back when the process ends."""
        self._decoder = cast("Any", None)

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
        # Distilled and turbo models lost most of their decoder, and with it translation.
        distilled = self._dims.n_text_layer < self._dims.n_audio_layer
        if options.task == "translate" and (self.languages == ENGLISH_ONLY or distilled):
            raise UnsupportedTask(f"{self._name} cannot translate; use a multilingual Whisper model", param="task")
        wanted_languages(options, self.languages, self._name)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> TorchWork:
        """Return a window of at most 30 s as its spectrogram and what the decoder is to be told."""
        require_finite(audio)
        language, candidates = wanted_languages(options, self.languages, self._name)
        previous = previous if self.serial else ()
        if self.serial and not self.carries_prompt:
            # Text like any other that comes before: it stays until a high temperature takes it away.
            previous = (*self._prompts.before(options.prompt), *previous)
            options = replace(options, prompt=None)
        return self._work(
            audio.samples,
            options,
            language=language,
            candidates=candidates,
            context=self._prompts.context(options, previous),
            previous=previous,
        )

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Decode windows whose keys are equal. Raises InsufficientMemory, DeviceOutOfMemory."""
        return self._decoder.decode(cast("Sequence[TorchWork]", works))

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of the first 30 seconds; NotSupported for an English-only model."""
        require_finite(audio)
        if self.languages == ENGLISH_ONLY:
            raise NotSupported(f"{self._name} knows English only and cannot detect a language")
        if audio.duration < _MIN_SECONDS:
            return LanguageGuess(None)
        return self._decoder.guess_language(self._work(audio.samples, TranscribeOptions()))

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Encode and decode windows of noise, with as many tokens as `seconds` of speech."""
        works = [self._noise(seconds)] * windows
        self._decoder.write(works, tokens=max(1, round(seconds * _TOKENS_PER_SECOND)))

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    def _compute_type(self) -> str:
        on_cpu = self.context.device == "cpu"
        wanted = self.context.compute_type
        if wanted == "default":
            return "float32" if on_cpu else "float16"
        if wanted not in (("float32",) if on_cpu else ("float32", "float16")):
            where = "a CPU" if on_cpu else "a GPU"
            raise ConfigurationError(f"openai-whisper cannot compute in {wanted} on {where}")
        return wanted

    def _work(self, samples: Samples, options: TranscribeOptions, **values: Any) -> TorchWork:
        how = Decoding(
            beam_size=options.beam_size or self.options.beam_size,
            best_of=options.best_of or self.options.best_of,
            temperatures=options.temperature or (0.0,),
            timestamps=True,
            words=options.word_timestamps,
            logprobs=options.logprobs,
        )
        features = log_mel(self._extractor, samples[: FULL_FRAMES * self._extractor.hop_length])[:, :-1]
        return TorchWork(features=features, frames=FULL_FRAMES, decoding=how, task=options.task, **values)

    def _noise(self, seconds: float, *, words: bool = False) -> TorchWork:
        samples = np.random.default_rng(0).normal(0.0, 0.01, round(seconds * self.sample_rate)).astype(np.float32)
        return self._work(samples, TranscribeOptions(temperature=(0.0,), word_timestamps=words), language="en")

    def _warm_up(self) -> None:
        """Write and align a text about noise, in the largest batch: what is compiled, and memory, are there then."""
        works = [self._noise(1.0, words=True)] * self.batch_size
        if not self._decoder.write(works, tokens=_WARM_UP_TOKENS, align=True):
            raise ModelBroken(f"{self._name} computes nonsense: its weights are damaged")
