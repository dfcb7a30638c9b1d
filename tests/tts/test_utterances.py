"""What a worker remembers of what it said."""

from __future__ import annotations

from core.worker import Event
from tts.utterances import Key, Utterances, size_of
from tts.voice import SpeechOptions, Voice

ANNA, BEN = Voice(id="anna", name="anna"), Voice(id="ben", name="ben")


def key(text: str = "Hello.", voice: Voice = ANNA, **options: object) -> Key:
    return Key(text=text, voice=voice, options=SpeechOptions(**options), recording=None, delivery=(None, 1.0))  # type: ignore[arg-type]


def answer(size: int = 1000) -> list[Event]:
    return [Event("start", {}), Event("audio", {"piece": 0}, bytes(size))]


def test_an_answer_is_known_by_all_that_decides_how_it_sounds() -> None:
    known = Utterances(1 << 20)
    known.keep(key(), answer(), edition=known.edition)
    assert known.get(key()) == tuple(answer())
    for other in (key("Hi."), key(voice=BEN), key(speed=2.0), key(seed=1), key(language="en")):
        assert known.get(other) is None


def test_what_was_used_last_stays() -> None:
    known = Utterances(3 * size_of(answer()))
    for text in ("a", "b", "c"):
        known.keep(key(text), answer(), edition=0)
    assert known.get(key("a"))
    known.keep(key("d"), answer(), edition=0)
    assert [text for text in "abcd" if known.get(key(text))] == ["a", "c", "d"]
    known.keep(key("d"), answer(), edition=0)  # once more: nothing has to go for it
    assert known.get(key("a"))
    known.keep(key("large"), answer(1 << 20), edition=0)
    assert known.get(key("large")) is None
    assert known.get(key("a"))


def test_a_voice_is_forgotten_and_what_is_said_in_it_meanwhile_is_not_kept() -> None:
    known = Utterances(1 << 20)
    for voice in (ANNA, BEN):
        known.keep(key(voice=voice), answer(), edition=0)
    begun = known.edition
    known.forget(ANNA)
    assert known.get(key()) is None
    assert known.get(key(voice=BEN))
    known.keep(key(), answer(), edition=begun)
    assert known.get(key()) is None
    known.keep(key(), answer(), edition=known.edition)
    assert known.get(key())
