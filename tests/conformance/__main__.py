"""`python -m tests.conformance --asr URL --tts URL`: run the contract against any server and print what held.

Without URLs it starts services of its own: with the fake engine, or with --real with the default models.
The exit status is 1 when a row failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.conformance import report, sdks, suite
from tests.conformance.rows import SECTIONS, Result
from tests.conformance.services import Services
from tests.conformance.target import Target


def main() -> int:
    """Run what the command line asks for."""
    options = arguments()
    target = a_target(options)
    results: list[Result] = []
    try:
        for each in suite.results(target, a_choice_of_sdks(options), a_choice_of_sections(options)):
            results.append(each)
            if options.verbose or each.outcome == "failed":
                print(f"{each.outcome:8} {each.section:5} {each.title} — {each.client.name} {each.client.version}")
                sys.stdout.flush()
    finally:
        target.close()
    print(report.summary(results))
    if options.json:
        options.json.write_text(report.as_json(results), encoding="utf-8")
    if options.page:
        write_page(results)
    return int(any(each.outcome == "failed" for each in results))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--asr", default="", metavar="URL", help="base URL of the ASR service, without /v1")
    parser.add_argument("--tts", default="", metavar="URL", help="base URL of the TTS service, without /v1")
    parser.add_argument("--key", default="", help="API key to send, where the URLs need one")
    parser.add_argument("--audio", type=Path, help="a WAV with English speech, where the TTS service cannot make one")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only this section (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row there")
    parser.add_argument("--real", action="store_true", help="start services with the default models; fewer rows")
    parser.add_argument("--newest", action="store_true", help="the newest SDKs instead of the pinned ones")
    parser.add_argument("--no-sdks", action="store_true", help="leave OpenAI's SDKs out")
    parser.add_argument("--page", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every row, not only what failed")
    return parser.parse_args()


def a_target(options: argparse.Namespace) -> Target:
    """Return what the command line points at; services of our own where it names none."""
    if options.asr or options.tts:
        urls = options.asr.rstrip("/"), options.tts.rstrip("/")
        return Target(*urls, api_key=options.key, audio=options.audio)
    services = Services()
    if options.real:
        return Target(services.real("asr"), services.real("tts"), services=services, audio=options.audio)
    return Target(services.url("asr"), services.url("tts"), engine="fake", services=services)


def a_choice_of_sdks(options: argparse.Namespace) -> tuple[sdks.Sdk, ...]:
    """Return the SDKs to run."""
    if options.no_sdks:
        return ()
    if options.newest:
        return sdks.NEWEST
    return suite.REAL_SDKS if options.real else sdks.SDKS


def a_choice_of_sections(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the sections to run."""
    if options.section:
        return tuple(options.section)
    return suite.REAL_SECTIONS if options.real else SECTIONS


def write_page(results: list[Result]) -> None:
    """Write docs/compatibility.md, unless something was left out that should stand there."""
    if missing := suite.not_installed(results):
        print(f"{report.PAGE.name} was not written: {missing[0].detail}")
        return
    report.PAGE.write_text(report.page(results), encoding="utf-8")
    print(f"wrote {report.PAGE.name}")


if __name__ == "__main__":
    sys.exit(main())
