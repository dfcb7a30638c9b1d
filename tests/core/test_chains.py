"""Which model of a chain answers, and what is told when none does."""

from __future__ import annotations

import pytest

from core import chains, errors
from core.chains import Chain, Resting, cannot_now
from core.model_entry import ModelRef

MODELS = [ModelRef(id=name, task="text-to-speech", engine="fake") for name in ("cloud", "local", "last")]


class Attempts:
    """Fails for the models that have an error, and notes who was tried."""

    def __init__(self, **failures: errors.VoiceStackError) -> None:
        self.failures = failures
        self.tried: list[str] = []

    async def __call__(self, model: ModelRef) -> str:
        self.tried.append(model.id)
        if error := self.failures.get(model.id):
            raise error
        return model.id


async def test_the_first_answers_alone_when_it_can() -> None:
    chain, attempts = Chain(MODELS, Resting()), Attempts()
    assert await chain.run(attempts) == "cloud"
    assert attempts.tried == ["cloud"]
    assert chain.settle().id == "cloud"


@pytest.mark.parametrize(
    "error",
    [
        errors.Unavailable("down"),
        errors.EngineCrashed("crashed"),
        errors.ModelBroken("broken"),
        errors.ModelLoading("slow"),
        errors.NotSupported("no library"),
        errors.QueueFull("busy"),
        errors.DeadlineExceeded("late"),
        errors.ConfigurationError("no key"),
        errors.UnprocessableAudio("deadly here"),
    ],
)
async def test_the_next_answers_when_it_cannot(error: errors.VoiceStackError) -> None:
    chain, attempts = Chain(MODELS, Resting()), Attempts(cloud=error)
    assert await chain.run(attempts) == "local"
    assert attempts.tried == ["cloud", "local"]
    assert chain.model.id == "local"


@pytest.mark.parametrize(
    "error", [errors.InvalidRequest("no"), errors.VoiceNotFound("no"), errors.InternalError("bug"), errors.Draining("")]
)
async def test_what_the_first_refuses_is_told_at_once(error: errors.VoiceStackError) -> None:
    attempts = Attempts(cloud=error)
    with pytest.raises(type(error)):
        await Chain(MODELS, Resting()).run(attempts)
    assert attempts.tried == ["cloud"]
    assert not cannot_now(error)


async def test_what_a_stand_in_refuses_is_not() -> None:
    down = errors.Unavailable("down")
    attempts = Attempts(cloud=down, local=errors.VoiceNotFound("no"))
    assert await Chain(MODELS, Resting()).run(attempts) == "last"
    attempts = Attempts(cloud=down, local=errors.VoiceNotFound("no"), last=errors.InvalidRequest("no"))
    with pytest.raises(errors.Unavailable) as caught:
        await Chain(MODELS, Resting()).run(attempts)
    assert caught.value is down


async def test_the_last_that_could_not_is_told() -> None:
    attempts = Attempts(cloud=errors.Unavailable("a"), local=errors.QueueFull("b"), last=errors.ModelBroken("c"))
    with pytest.raises(errors.ModelBroken):
        await Chain(MODELS, Resting()).run(attempts)
    assert attempts.tried == ["cloud", "local", "last"]


async def test_nobody_stands_in_once_the_answer_has_begun() -> None:
    chain, tried = Chain(MODELS, Resting()), []

    async def attempt(model: ModelRef) -> None:
        tried.append(model.id)
        chain.settle()
        raise errors.Unavailable("lost on the way")

    with pytest.raises(errors.Unavailable):
        await chain.run(attempt)
    assert tried == ["cloud"]


class TestResting:
    async def test_one_that_was_down_is_not_asked_again_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resting, attempts = Resting(), Attempts(cloud=errors.Unavailable("down"))
        assert [await Chain(MODELS, resting).run(attempts) for _ in range(2)] == ["local", "local"]
        assert attempts.tried == ["cloud", "local", "local"]
        now = chains.time.monotonic()
        monkeypatch.setattr(chains.time, "monotonic", lambda: now + chains.REST_SECONDS)
        attempts.failures.clear()
        assert await Chain(MODELS, resting).run(attempts) == "cloud"

    async def test_what_the_others_then_refuse_is_not_told(self) -> None:
        resting, down = Resting(), errors.ModelBroken("down", param="model")
        down.retry_after = 7
        resting.note(MODELS[0], down)
        attempts = Attempts(local=errors.VoiceNotFound("no"), last=errors.VoiceNotFound("no"))
        with pytest.raises(errors.ModelBroken) as caught:
            await Chain(MODELS, resting).run(attempts)
        assert (caught.value.message, caught.value.param, caught.value.retry_after) == ("down", "model", 7)
        assert attempts.tried == ["local", "last"]

    async def test_the_last_is_always_asked(self) -> None:
        resting, attempts = Resting(), Attempts()
        for model in MODELS:
            resting.note(model, errors.Unavailable("down"))
        assert await Chain(MODELS, resting).run(attempts) == "last"
        assert attempts.tried == ["last"]
        assert resting.why(MODELS[-1]) is None, "it answered"

    @pytest.mark.parametrize(
        "error",
        [
            errors.CrashedByRequest("it"),
            errors.InsufficientMemory("large"),
            errors.UnprocessableAudio("deadly"),
            errors.QueueFull("busy"),
            errors.DeadlineExceeded("long"),
            errors.NotSupported("not this"),
            errors.VoiceNotFound("no"),
        ],
    )
    def test_what_one_request_brought_about_is_no_reason(self, error: errors.VoiceStackError) -> None:
        resting = Resting()
        resting.note(MODELS[0], error)
        assert resting.why(MODELS[0]) is None
