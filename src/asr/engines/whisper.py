"""Whisper through openai-whisper (PyTorch): float32 on a CPU, float16 on a GPU, from a checkpoint, never downloaded."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from asr.engines.faster_whisper_prompt import Prompts
from asr.engines.faster_whisper_window import FULL_FRAMES, Features
from asr.engines.whisper_checkpoint import checkpoint_file, load_checkpoint, make_half
from asr.engines.whisper_decoding import TorchDecoder, TorchWork
from asr.engines.whisper_family import WhisperFamily, spoken_tokens
from asr.engines.whisper_family_options import decoding
from asr.engines.whisper_languages import ENGLISH_ONLY
from asr.engines.whisper_options import WhisperOptions
from asr.transcript import TranscribeOptions
from core.devices import usable_cores
from core.errors import ConfigurationError, DeviceOutOfMemory, ModelBroken

log = logging.getLogger(__name__)

_GPU_BATCH = 8
_WARM_UP_TOKENS = 8


class WhisperEngine(WhisperFamily):
    """Any Whisper in openai-whisper's format (*.pt). One call at a time: the library hooks into the model's layers."""

    Options = WhisperOptions
    options: WhisperOptions
    requires = ("whisper", "torch")
    extra = "whisper"
    runtime = "torch"

    compute_type: str = "float32"
    """The number format in use."""
    _decoder: TorchDecoder

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
        self._set_threads()
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
        self._set_threads()  # the first alignment started numba, which gives this thread's OpenMP all the cores

    def close(self) -> None:
        """Drop the model; what the library keeps comes back when the process ends."""
        self._decoder = cast("Any", None)

    @property
    def transcribes_only(self) -> bool:
        """Whether it is a distilled or turbo model, which lost most of its decoder, and with it translation."""
        return bool(self._dims.n_text_layer < self._dims.n_audio_layer)

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Encode and decode windows of noise, with as many tokens as `seconds` of speech."""
        self._decoder.write([self._noise(seconds)] * windows, tokens=spoken_tokens(seconds))

    def _work(self, features: Features, options: TranscribeOptions, **values: Any) -> TorchWork:
        # The library is always asked for timestamps: the text is cut there.
        how = decoding(self.options, replace(options, timestamps=True))
        return TorchWork(features=features, frames=FULL_FRAMES, decoding=how, task=options.task, **values)

    def _set_threads(self) -> None:
        import torch

        if self.context.device == "cpu":
            torch.set_num_threads(self.context.threads or usable_cores())

    def _compute_type(self) -> str:
        on_cpu = self.context.device == "cpu"
        wanted = self.context.compute_type
        if wanted == "default":
            return "float32" if on_cpu else "float16"
        if wanted not in (("float32",) if on_cpu else ("float32", "float16")):
            where = "a CPU" if on_cpu else "a GPU"
            raise ConfigurationError(f"openai-whisper cannot compute in {wanted} on {where}")
        return wanted

    def _warm_up(self) -> None:
        """Write and align a text about noise, in the largest batch: what is compiled, and memory, are there then."""
        works = [self._noise(1.0, words=True)] * self.batch_size
        if not self._decoder.write(works, tokens=_WARM_UP_TOKENS, align=True):
            raise ModelBroken(f"{self._name} computes nonsense: its weights are damaged")
