"""A row of the conformance table: one assertion of the contract, made with one client, and what came of it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tests.conformance.target import LeftOut, Target

# A probe is a request that no program sends: it shows the edges of the contract and proves no client.
Kind = Literal["real client", "recorded shape", "probe"]
Outcome = Literal["passed", "failed", "left out"]
SECTIONS = (
    "A0", "A0.1", "A0.2", "A0.3", "A1", "A1.1", "A2.1", "A2.2", "A2.3", "A2.4", "A2.5", "A3", "A4", "A6", "A7", "A7.1",
    "A7.2", "A8", "A9",
)  # fmt: skip

TRANSCRIPTIONS = "POST /v1/audio/transcriptions"
TRANSLATIONS = "POST /v1/audio/translations"
SPEECH = "POST /v1/audio/speech"
MODELS = "GET /v1/models"
VOICES = "GET /v1/audio/voices"


@dataclass(frozen=True)
class Client:
    """Who sends the requests of a row; `version` is the one whose code runs or whose requests were recorded."""

    name: str
    version: str = ""
    kind: Kind = "probe"


PROBE = Client("probes")


@dataclass(frozen=True)
class Row:
    """One assertion: `run` returns when it holds, raises LeftOut when it cannot be asked here, else any error."""

    section: str
    title: str
    client: Client
    calls: tuple[str, ...]
    run: Callable[[Target], None] = field(repr=False)


@dataclass(frozen=True)
class Result:
    """What came of a row."""

    section: str
    title: str
    client: Client
    calls: tuple[str, ...]
    outcome: Outcome
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


class Table:
    """The rows of one module, filled by its decorated functions."""

    def __init__(self, client: Client = PROBE) -> None:
        self.client = client
        self.rows: list[Row] = []

    def row(
        self,
        section: str,
        title: str,
        *calls: str,
        each: Iterable[Any] = (),
        client: Client | None = None,
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Make the function a row, or a row per value of `each`, which it then gets as second argument.

        `{}` in the title stands for the value, of a tuple for its first item.
        """
        assert section in SECTIONS, section

        def add(function: Callable[..., None]) -> Callable[..., None]:
            who = client or self.client
            for value in each:
                shown = value if isinstance(value, tuple) else (value,)
                run = functools.partial(_with_value, function, value)
                self.rows.append(Row(section, title.format(*shown), who, calls, run))
            if not each:
                self.rows.append(Row(section, title, who, calls, function))
            return function

        return add


def _with_value(function: Callable[..., None], value: Any, target: Target) -> None:
    function(target, value)


def run(row: Row, target: Target) -> Result:
    """Run one row; whatever it raises is its result."""
    result = functools.partial(Result, row.section, row.title, row.client, row.calls)
    try:
        row.run(target)
    except LeftOut as reason:
        return result("left out", str(reason))
    except Exception as error:  # noqa: BLE001 - a failed row is a result, whatever failed
        return result("failed", _explained(error))
    return result("passed")


def _explained(error: Exception) -> str:
    """Say what failed and where: a bare assert has nothing but its source line to tell."""
    frames = traceback.extract_tb(error.__traceback__)
    where = next((frame for frame in reversed(frames) if "conformance" in frame.filename), frames[-1])
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text[:500]} [{where.name}:{where.lineno}: {where.line}]"
