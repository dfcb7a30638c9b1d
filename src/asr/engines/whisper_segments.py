"""From the tokens of a window to segments, with words and log-probabilities out of one pass of the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from asr.engines.faster_whisper_guard import Attempt, is_speech
from asr.engines.faster_whisper_segments import Cut, placed, written
from asr.engines.faster_whisper_window import WhisperWork
from asr.engines.whisper_family_options import WhisperFamilyOptions
from asr.transcript import Segment, TokenLogprob, Word


class Heard:
    """A model to openai-whisper's alignment: given audio features it does not encode again, and keeps the logits."""

    def __init__(self, model: Any) -> None:
        self.dims, self.device, self.decoder = model.dims, model.device, model.decoder
        self.alignment_heads = model.alignment_heads
        self.logits: Any = None
        """Shape (start, text and end tokens, vocabulary); None where there was no text to align."""

    def __call__(self, features: Any, tokens: Any) -> Any:
        """Return the logits of tokens, shape (1, tokens, vocabulary); `features` has shape (1, positions, size)."""
        logits = self.decoder(tokens, features)
        self.logits = logits[0]
        return logits


def segments(
    work: WhisperWork,
    attempt: Attempt,
    cuts: Sequence[Cut],
    tokenizer: Any,
    *,
    model: Any,
    features: Any,
    rules: WhisperFamilyOptions,
) -> tuple[Segment, ...]:
    """Return what was said in a window; `features` is its encoding, shape (positions, size).

    Runs with no other use of the model at the same time: the library listens in on its layers.
    """
    aligned = work.decoding.aligned
    texts = [[token for token in part.tokens if token < tokenizer.eot] for part in cuts]
    words: list[tuple[Word, ...]] = [()] * len(cuts)
    scores: list[TokenLogprob] = []
    if aligned:
        heard = Heard(model)
        words = _words(work, cuts, tokenizer, heard, features)
        scores = _scores([token for tokens in texts for token in tokens], tokenizer, heard.logits)
    found: list[Segment] = []
    for part, tokens, timed in zip(cuts, texts, words, strict=True):
        own, scores = scores[: len(tokens)], scores[len(tokens) :]
        logprobs = tuple(own) if work.decoding.logprobs else ()
        segment = replace(
            written(part, attempt, tokenizer.decode(tokens)), id=len(found), words=timed, logprobs=logprobs
        )
        if part.start < part.end and is_speech(segment, rules):
            found.append(placed(segment, work.duration, aligned=aligned, words=work.decoding.words))
    return tuple(found)


def _words(
    work: WhisperWork, cuts: Sequence[Cut], tokenizer: Any, heard: Heard, features: Any
) -> list[tuple[Word, ...]]:
    """Return the words of each cut by openai-whisper's own rules."""
    from whisper.timing import add_word_timestamps

    parts: list[dict[str, Any]] = [
        {"seek": 0, "start": part.start, "end": part.end, "tokens": part.tokens} for part in cuts
    ]
    add_word_timestamps(
        segments=parts,
        model=heard,
        tokenizer=tokenizer,
        mel=features,
        num_frames=work.speech_frames,
        last_speech_timestamp=0.0,
    )
    return [tuple(map(_word, part["words"])) for part in parts]


def _word(found: dict[str, Any]) -> Word:
    return Word(found["word"], float(found["start"]), float(found["end"]), float(found["probability"]))


def _scores(tokens: Sequence[int], tokenizer: Any, logits: Any) -> list[TokenLogprob]:
    """Return text tokens with their log-probabilities among all text tokens, as the alignment sees them."""
    if logits is None:
        return []
    # Behind the start comes <|notimestamps|>, whose row is about the first token of the text.
    first = len(tokenizer.sot_sequence)
    rows = logits[first : first + len(tokens), : tokenizer.eot].float().log_softmax(-1)
    chosen = rows[list(range(len(tokens))), list(tokens)].tolist()
    return [_score(token, logprob, tokenizer) for token, logprob in zip(tokens, chosen, strict=True)]


def _score(token: int, logprob: float, tokenizer: Any) -> TokenLogprob:
    content = tokenizer.encoding.decode_single_token_bytes(token)
    return TokenLogprob(content.decode(errors="replace"), min(logprob, 0.0), tuple(content))
