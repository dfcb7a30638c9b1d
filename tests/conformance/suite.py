"""All rows there are, and running them against a target, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.conformance import (
    fuzz,
    rows_answers,
    rows_bazarr,
    rows_clients,
    rows_control,
    rows_extras,
    rows_jobs,
    rows_models,
    rows_requests,
    rows_rules,
    rows_speakers,
    rows_speech,
    rows_voices,
    sdks,
)
from tests.conformance.rows import SECTIONS, Result, Row, run
from tests.conformance.target import Target

MODULES = (
    rows_rules, rows_models, rows_control, rows_requests, rows_answers, rows_jobs, rows_bazarr, rows_speech,
    rows_voices, rows_extras, rows_speakers, rows_clients, fuzz,
)  # fmt: skip
# With real models a row takes seconds: the answers themselves, and the newest of the pinned SDKs.
REAL_SECTIONS = ("A1", "A2.3", "A2.4", "A2.5", "A3", "A6", "A7.1", "A7.2", "A9")
REAL_SDKS = sdks.SDKS[2:]


def rows() -> list[Row]:
    """Return the rows that run in this process, by section of the contract."""
    found = [each for module in MODULES for each in module.table.rows]
    return sorted(found, key=lambda each: SECTIONS.index(each.section))


def parts(clients: Iterable[sdks.Sdk] = sdks.SDKS) -> dict[str, Callable[[Target], list[Result]]]:
    """Return what can be run on its own: each section, and each SDK."""

    def section(name: str) -> Callable[[Target], list[Result]]:
        return lambda target: [run(each, target) for each in rows() if each.section == name]

    def sdk(client: sdks.Sdk) -> Callable[[Target], list[Result]]:
        return lambda target: sdks.run(client, target)

    found = {name: section(name) for name in SECTIONS}
    return found | {f"{client.name} {client.version}": sdk(client) for client in clients}


def not_installed(found: Iterable[Result]) -> list[Result]:
    """Return the rows that were left out for want of an environment, and which the page therefore would lack."""
    return [each for each in found if each.outcome == "left out" and each.detail.startswith("not installed")]


def results(target: Target, clients: Iterable[sdks.Sdk], sections: Iterable[str]) -> Iterator[Result]:
    """Run everything of these sections, the SDKs last."""
    wanted = set(sections)
    for each in rows():
        if each.section in wanted:
            yield run(each, target)
    for client in clients:
        yield from (each for each in sdks.run(client, target) if each.section in wanted)
