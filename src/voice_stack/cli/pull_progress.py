"""Showing how a pull gets on: a bar on a terminal, a line per step and tenth anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from core.sources.base import Progress

_TENTHS = 10


class BarProgress:
    """One bar per step."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._step: TaskID | None = None

    def begin(self, what: str, total: int | None) -> None:
        """Fill the bar of the step before and start one."""
        self.finish()
        self._step = self._bars.add_task(what, total=total)

    def advance(self, done: int) -> None:
        """Move the bar, never beyond its end: a client may keep a file twice for a moment."""
        if self._step is not None:
            total = self._bars.tasks[self._step].total
            self._bars.update(self._step, completed=min(done, total) if total else done)

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def finish(self) -> None:
        """Fill the bar of the last step."""
        if self._step is not None:
            task = self._bars.tasks[self._step]
            self._bars.update(self._step, total=task.total or task.completed, completed=task.total or task.completed)


class LineProgress:
    """Plain lines, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what = ""
        self._total: int | None = None
        self._tenths = 0

    def begin(self, what: str, total: int | None) -> None:
        """Write that the step starts."""
        self._what, self._total, self._tenths = what, total, 0
        self.note(f"{what}: {size_text(total)}" if total else what)

    def advance(self, done: int) -> None:
        """Write a line when another tenth is there."""
        if self._total and (tenths := min(done * _TENTHS // self._total, _TENTHS)) > self._tenths:
            self._tenths = tenths
            self.note(f"{self._what}: {tenths * 100 // _TENTHS} %")

    def note(self, text: str) -> None:
        """Write a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def size_text(size: int | None) -> str:
    """Return bytes as people read them; a question mark when nobody knows."""
    if size is None:
        return "?"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"  # noqa: PLR2004


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Yield the Progress that suits the console."""
    if not console.is_terminal:
        yield LineProgress(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console) as bars:
        progress = BarProgress(bars)
        yield progress
        progress.finish()
