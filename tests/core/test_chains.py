"""Which model of a chain answers, and what is told when none does."""

from __future__ import annotations

from typing import Any

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
            with errors.of_model(model.id):
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
        errors.InternalError("its engine failed"),
    ],
)
async def test_the_next_answers_when_it_cannot(error: errors.VoiceStackError) -> None:
    chain, attempts = Chain(MODELS, Resting()), Attempts(cloud=error)
    assert await chain.run(attempts) == "local"
    assert attempts.tried == ["cloud", "local"]
    assert chain.model.id == "local"


@pytest.mark.parametrize("error", [errors.InvalidRequest("no"), errors.VoiceNotFound("no"), errors.Draining("")])
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


async def test_what_stands_beside_the_models_is_no_reason_to_try_another() -> None:
    of_another = errors.EngineCrashed("the diarizer")
    of_another.model = "diarizer"
    for error in (of_another, errors.Unavailable("no encoder")):
        for failures in ({"cloud": error}, {"cloud": errors.Unavailable("down"), "local": error}):
            resting, tried = Resting(), []

            async def attempt(model: ModelRef, failures: Any = failures, tried: list[str] = tried) -> str:
                tried.append(model.id)
                if model.id == "cloud" and len(failures) == 2:
                    with errors.of_model("cloud"):
                        raise failures["cloud"]
                raise failures[model.id]

            with pytest.raises(type(error)) as caught:
                await Chain(MODELS, resting).run(attempt)
            assert caught.value is error
            assert tried == list(failures)
            assert resting.why(MODELS[len(failures) - 1]) is None


async def test_a_request_that_is_wrong_for_the_diarizer_is_wrong_for_every_stand_in() -> None:
    wrong = errors.InvalidAudio("too short")
    wrong.model = "diarizer"
    attempts = Attempts(cloud=errors.Unavailable("down"), local=wrong)
    with pytest.raises(errors.InvalidAudio):
        await Chain(MODELS, Resting()).run(attempts)


async def test_a_model_that_is_used_in_place_of_another_is_the_one_that_was_down() -> None:
    resting = Resting()
    chain, other = Chain(MODELS, resting), ModelRef(id="other", task="text-to-speech", engine="fake")

    async def attempt(model: ModelRef) -> str:
        if model.id == "cloud":
            chain.model = other
            with errors.of_model(other.id):
                raise errors.Unavailable("down")
        return model.id

    assert await chain.run(attempt) == "local"
    assert resting.why(other)
    assert resting.why(MODELS[0]) is None


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
