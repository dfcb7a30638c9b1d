"""Which works may go next on a device that requests share: the rules alone, without threads."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Shape(NamedTuple):
    """What decides which works may go together: the `key` that they have in common, and their lengths.

    All are padded to the longest. A `key` of None: this work goes alone.
    """

    key: Hashable = None
    length: int = 1


ALONE = Shape()
SPREAD = 1.4
"""How many times longer the longest work of a run may be than the shortest: what is gained together is not padded away.
"""
EXPRESS_IN_A_ROW = 4
"""Express works that may go before an ordinary one that could go as well; then it is its turn."""


class Line(Generic[T]):
    """The works of one request, in the order in which they go; `express`: before those of other requests."""

    def __init__(self, *, express: bool = False) -> None:
        self.express = express
        self._urgent: deque[tuple[Shape, T]] = deque()
        self._others: deque[tuple[Shape, T]] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    @property
    def shape(self) -> Shape:
        """The shape of the first work."""
        return (self._urgent or self._others)[0][0]

    def add(self, item: T, shape: Shape, *, first: bool) -> None:
        """Add a work behind the others; `first`: only behind the others that were added so."""
        (self._urgent if first else self._others).append((shape, item))

    def pop(self) -> T:
        """Take the first work out."""
        return (self._urgent or self._others).popleft()[1]

    def remove(self, item: T) -> None:
        """Take this very work out, if it is there."""
        for works in (self._urgent, self._others):
            for index, (_, other) in enumerate(works):
                if other is item:
                    del works[index]
                    return

    def clear(self) -> list[T]:
        """Take all works out."""
        found = [item for works in (self._urgent, self._others) for _, item in works]
        self._urgent.clear()
        self._others.clear()
        return found


@dataclass(slots=True, eq=False)
class Run(Generic[T]):
    """Works that go together; `express`: no ordinary one is among them; `spare`: it takes no slot."""

    key: Hashable
    express: bool
    spare: bool
    items: list[T] = field(default_factory=list)
    shortest: int = 0
    longest: int = 0


class FairQueue(Generic[T]):
    """Lines take turns, one work each, those of express requests first.

    `slots` runs go at once, of 1 to `batch` works with equal keys and much the same length; several are together no
    longer than `room`, padded to the longest of them (None: any length). While ordinary runs fill all slots, `spare`
    runs of express works go beside them. What waits is taken as soon as a run may start: nothing waits for a fuller
    batch.
    """

    def __init__(self, *, slots: int, batch: int = 1, spare: int = 0, room: int | None = None) -> None:
        if slots < 1 or batch < 1 or spare < 0:
            raise ValueError(f"no device has {slots} slots, {spare} spare ones and batches of {batch}")
        self._slots = slots
        self._batch = batch
        self._spare = spare
        self._room = math.inf if room is None else room
        # Lines with works, in the order of their turns.
        self._express: OrderedDict[Line[T], None] = OrderedDict()
        self._ordinary: OrderedDict[Line[T], None] = OrderedDict()
        self._express_in_a_row = 0
        self._ordinary_runs = 0
        self._express_runs = 0
        self._spare_runs = 0
        self.waiting = 0
        """Works that wait."""
        self.running = 0
        """Works in runs that have started and not ended."""

    def add(self, line: Line[T], item: T, shape: Shape = ALONE, *, first: bool = False) -> None:
        """Add a work to a line; see Line.add."""
        line.add(item, shape, first=first)
        self._turns(line).setdefault(line)
        self.waiting += 1

    def remove(self, line: Line[T], item: T) -> None:
        """Take one work out, if it still waits."""
        before = len(line)
        line.remove(item)
        self.waiting -= before - len(line)
        if not line:
            self._turns(line).pop(line, None)

    def drop(self, line: Line[T]) -> list[T]:
        """Take all works of a line out."""
        items = line.clear()
        self.waiting -= len(items)
        self._turns(line).pop(line, None)
        return items

    def drop_all(self) -> list[T]:
        """Take all works out."""
        return [item for line in [*self._express, *self._ordinary] for item in self.drop(line)]

    def start(self) -> Run[T] | None:
        """Take out what may go now; None when nothing may. The caller ends the run that it got."""
        lead, spare = self._lead()
        if lead is None:
            return None
        run: Run[T] = Run(lead.shape.key, express=lead.express, spare=spare)
        self._count(run, 1)
        self._move(lead, run)
        self.fill(run)
        return run

    def fill(self, run: Run[T]) -> None:
        """Add what fits into a run that has started and has not been begun with, express works first."""
        for turns in (self._express,) if run.spare else (self._express, self._ordinary):
            # Round after round, one work of each line: a line with many works must not keep the others out.
            while fitting := [line for line in turns if self._fits(line.shape, run)]:
                for line in fitting:
                    if self._fits(line.shape, run):
                        self._move(line, run)

    def may_grow(self, run: Run[T]) -> bool:
        """Tell whether a run could take another work like those it has."""
        return self._fits(Shape(run.key, run.longest), run)

    def end(self, run: Run[T]) -> None:
        """Give back what the run took."""
        self.running -= len(run.items)
        self._count(run, -1)

    def _turns(self, line: Line[T]) -> OrderedDict[Line[T], None]:
        return self._express if line.express else self._ordinary

    def _count(self, run: Run[T], step: int) -> None:
        if run.spare:
            self._spare_runs += step
        elif run.express:
            self._express_runs += step
        else:
            self._ordinary_runs += step

    def _lead(self) -> tuple[Line[T] | None, bool]:
        """Return the line whose turn it is, and whether it must do without a slot."""
        busy = self._ordinary_runs + self._express_runs
        # Runs that went without a slot count here: they leave no core to another express work.
        express = bool(self._express) and busy + self._spare_runs < self._slots
        ordinary = bool(self._ordinary) and busy < self._slots
        if express and not (ordinary and self._express_in_a_row >= EXPRESS_IN_A_ROW):
            self._express_in_a_row = self._express_in_a_row + 1 if ordinary else 0
            return next(iter(self._express)), False
        if ordinary:
            self._express_in_a_row = 0
            return next(iter(self._ordinary)), False
        if self._express and self._ordinary_runs == self._slots and self._spare_runs < self._spare:
            return next(iter(self._express)), True
        return None, False

    def _fits(self, shape: Shape, run: Run[T]) -> bool:
        if run.key is None or shape.key != run.key or len(run.items) == self._batch:
            return False
        shortest, longest = min(run.shortest, shape.length), max(run.longest, shape.length)
        return longest <= SPREAD * shortest and (len(run.items) + 1) * longest <= self._room

    def _move(self, line: Line[T], run: Run[T]) -> None:
        """Put the first work of a line into a run; the line's next turn comes after that of all others."""
        length = line.shape.length
        run.shortest, run.longest = min(run.shortest or length, length), max(run.longest, length)
        run.items.append(line.pop())
        self.waiting -= 1
        self.running += 1
        if run.express and not line.express:
            self._count(run, -1)
            run.express = False
            self._count(run, 1)
        turns = self._turns(line)
        if line:
            turns.move_to_end(line)
        else:
            del turns[line]
