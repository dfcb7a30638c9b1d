"""The rules of the queue in front of a device: fair in both directions, batches of one kind, spare runs in bounds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.fair_queue import EXPRESS_IN_A_ROW, SPREAD, FairQueue, Line, Run, Shape

LINES = 4
SHAPES = st.sampled_from([Shape(), Shape("a"), Shape("a", 2), Shape("b", 10), Shape("b", 13), Shape("b", 16)])


def names(run: Run[str] | None) -> list[str] | None:
    return None if run is None else run.items


def drained(queue: FairQueue[str]) -> list[list[str]]:
    """What a single slot would do, run after run."""
    found = []
    while (run := queue.start()) is not None:
        found.append(run.items)
        queue.end(run)
    return found


def test_requests_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(slots=1)
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        line: Line[str] = Line()
        for number in range(count):
            queue.add(line, f"{name}{number}")
    assert drained(queue) == [["a0"], ["b0"], ["c0"], ["a1"], ["c1"], ["a2"]]


def test_express_works_go_first_but_not_for_ever() -> None:
    queue: FairQueue[str] = FairQueue(slots=1)
    ordinary: Line[str] = Line()
    express: Line[str] = Line(express=True)
    for number in range(2):
        queue.add(ordinary, f"o{number}")
    for number in range(2 * EXPRESS_IN_A_ROW + 1):
        queue.add(express, f"e{number}")
    found = [item for run in drained(queue) for item in run]
    assert found == ["e0", "e1", "e2", "e3", "o0", "e4", "e5", "e6", "e7", "o1", "e8"]


def test_express_works_that_kept_nobody_waiting_are_not_held_against_the_next() -> None:
    queue: FairQueue[str] = FairQueue(slots=1)
    express: Line[str] = Line(express=True)
    for number in range(2 * EXPRESS_IN_A_ROW):
        queue.add(express, f"e{number}")
    drained(queue)
    queue.add(Line(), "o")
    queue.add(express, "e")
    assert drained(queue) == [["e"], ["o"]]


def test_a_retry_goes_before_the_rest_of_its_request_and_behind_earlier_retries() -> None:
    queue: FairQueue[str] = FairQueue(slots=1)
    line: Line[str] = Line()
    for item, first in (("2", False), ("3", False), ("0 again", True), ("1 again", True)):
        queue.add(line, item, first=first)
    assert drained(queue) == [["0 again"], ["1 again"], ["2"], ["3"]]


def test_a_batch_is_filled_from_all_requests_in_turn_express_ones_first() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=5)
    for name, express in (("a", False), ("b", False), ("x", True), ("y", True)):
        line: Line[str] = Line(express=express)
        for number in range(2):
            queue.add(line, f"{name}{number}", Shape("k"))
    assert drained(queue) == [["x0", "y0", "x1", "y1", "a0"], ["b0", "a1", "b1"]]


def test_a_batch_skips_no_work_of_a_request() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=8)
    one, other = Line[str](), Line[str]()
    queue.add(one, "a0", Shape("a"))
    queue.add(other, "b0", Shape("b"))
    queue.add(other, "a1", Shape("a"))
    assert drained(queue) == [["a0"], ["b0"], ["a1"]]


def test_works_in_a_run_have_much_the_same_length() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=8)
    for name, length in (("10", 10), ("14", 14), ("15", 15), ("9", 9), ("11", 11)):
        queue.add(Line(), name, Shape("k", length))
    assert drained(queue) == [["10", "14", "11"], ["15"], ["9"]]


def test_works_in_a_run_have_room() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=4, room=50)
    line: Line[str] = Line()
    for length in (60, 60, 25, 20, 20, 12, 12, 10, 10, 12):
        queue.add(line, str(length), Shape("k", length))
    assert drained(queue) == [["60"], ["60"], ["25", "20"], ["20"], ["12", "12", "10", "10"], ["12"]]


def test_a_work_without_a_key_goes_alone() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=8)
    line: Line[str] = Line()
    queue.add(line, "0")
    queue.add(line, "1")
    assert drained(queue) == [["0"], ["1"]]


def test_what_comes_before_a_run_begins_goes_along() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=2)
    queue.add(Line(express=True), "e", Shape("k"))
    run = queue.start()
    assert run is not None
    assert run.express
    queue.add(Line(), "other", Shape("l"))
    for name in ("o0", "o1"):
        queue.add(Line(), name, Shape("k"))
    queue.fill(run)
    assert (run.items, run.express) == (["e", "o0"], False)
    queue.end(run)
    assert drained(queue) == [["other"], ["o1"]]


def test_an_express_work_starts_beside_a_long_one_without_a_slot() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, spare=1)
    for name in ("long", "longer"):
        queue.add(Line(), name)
    express: Line[str] = Line(express=True)
    long = queue.start()
    assert queue.start() is None
    queue.add(express, "e0")
    queue.add(express, "e1")
    spare = queue.start()
    assert names(spare) == ["e0"]
    assert spare is not None
    assert spare.spare
    assert queue.start() is None
    # The slot is free and the next express work is not: no more of these than slots.
    assert long is not None
    queue.end(long)
    assert names(queue.start()) == ["longer"]
    assert queue.start() is None
    queue.end(spare)
    assert names(queue.start()) == ["e1"]


def test_a_spare_run_is_filled_with_express_works_only() -> None:
    queue: FairQueue[str] = FairQueue(slots=1, batch=4, spare=1)
    queue.add(Line(), "long")
    assert names(queue.start()) == ["long"]
    for name in ("o", "e0", "e1"):
        queue.add(Line(express=name != "o"), name, Shape("k"))
    assert names(queue.start()) == ["e0", "e1"]


def test_express_works_alone_take_no_more_than_the_slots() -> None:
    queue: FairQueue[str] = FairQueue(slots=2, spare=2)
    for number in range(3):
        queue.add(Line(express=True), f"e{number}")
    assert [names(queue.start()) for _ in range(3)] == [["e0"], ["e1"], None]


def test_a_dropped_request_leaves_nothing_behind() -> None:
    queue: FairQueue[str] = FairQueue(slots=1)
    gone, stays = Line[str](), Line[str]()
    for line, item in ((gone, "g0"), (stays, "s0"), (gone, "g1"), (stays, "s1")):
        queue.add(line, item, first=item == "g1")
    assert queue.drop(gone) == ["g1", "g0"]
    queue.remove(stays, "s0")
    queue.remove(stays, "s0")
    assert queue.waiting == 1
    assert drained(queue) == [["s1"]]
    queue.add(stays, "s2")
    assert queue.drop_all() == ["s2"]
    assert (queue.waiting, queue.running, queue.start()) == (0, 0, None)


@pytest.mark.parametrize(("slots", "batch", "spare"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_a_device_that_cannot_be_is_refused(slots: int, batch: int, spare: int) -> None:
    with pytest.raises(ValueError, match="no device has"):
        FairQueue(slots=slots, batch=batch, spare=spare)


@dataclass(frozen=True, eq=False)
class Item:
    number: int
    line: int
    shape: Shape
    first: bool


class Device(RuleBasedStateMachine):
    """Anything that can happen, in any order, against what must be true of every run that starts."""

    @initialize(
        slots=st.integers(1, 3), batch=st.integers(1, 4), spare=st.integers(0, 2), room=st.sampled_from([None, 2, 30])
    )
    def prepare(self, slots: int, batch: int, spare: int, room: int | None) -> None:
        self.slots, self.batch, self.spare, self.room = slots, batch, spare, room
        self.queue: FairQueue[Item] = FairQueue(slots=slots, batch=batch, spare=spare, room=room)
        self.lines: list[Line[Item]] = [Line(express=number < LINES) for number in range(2 * LINES)]
        self.waiting: list[list[Item]] = [[] for _ in self.lines]
        self.passed = [0] * len(self.lines)
        """Runs on slots that have started since the line began to wait or was served last."""
        self.runs: list[Run[Item]] = []
        self.count = 0
        self.express_in_a_row = 0

    def express(self, item: Item) -> bool:
        return item.line < LINES

    def running(self, *, express: bool) -> int:
        return sum(run.express is express and not run.spare for run in self.runs)

    @property
    def on_spare(self) -> int:
        return sum(run.spare for run in self.runs)

    def waits(self, *, express: bool) -> bool:
        return any(self.waiting[:LINES] if express else self.waiting[LINES:])

    @rule(line=st.integers(0, 2 * LINES - 1), shape=SHAPES, first=st.booleans())
    def add(self, line: int, shape: Shape, first: bool) -> None:
        item = Item(self.count, line, shape, first)
        self.count += 1
        if not self.waiting[line]:
            self.passed[line] = 0
        self.waiting[line].append(item)
        self.waiting[line].sort(key=lambda other: (not other.first, other.number))
        self.queue.add(self.lines[line], item, shape, first=first)

    @rule(line=st.integers(0, 2 * LINES - 1))
    def drop(self, line: int) -> None:
        assert self.queue.drop(self.lines[line]) == self.waiting[line]
        self.waiting[line] = []

    @precondition(lambda self: any(self.waiting))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from([item for line in self.waiting for item in line]))
        self.queue.remove(self.lines[item.line], item)
        self.waiting[item.line].remove(item)

    @rule()
    def start(self) -> None:
        express, ordinary = self.waits(express=True), self.waits(express=False)
        on_slots = self.running(express=True) + self.running(express=False)
        may_be_express = express and on_slots + self.on_spare < self.slots
        may_be_ordinary = ordinary and on_slots < self.slots
        may_be_spare = express and self.running(express=False) == self.slots and self.on_spare < self.spare
        run = self.queue.start()
        assert (run is not None) == (may_be_express or may_be_ordinary or may_be_spare)
        if run is None:
            return
        lead = run.items[0]
        if run.spare:
            assert may_be_spare
            assert not may_be_ordinary
        elif self.express(lead):
            assert may_be_express
            self.express_in_a_row = self.express_in_a_row + 1 if may_be_ordinary else 0
            assert self.express_in_a_row <= EXPRESS_IN_A_ROW
        else:
            assert may_be_ordinary
            assert not may_be_express or self.express_in_a_row == EXPRESS_IN_A_ROW
            self.express_in_a_row = 0
        if not run.spare:
            self.passed = [passed + bool(line) for passed, line in zip(self.passed, self.waiting, strict=True)]
        self.served(run, run.items)
        self.runs.append(run)
        self.check_nobody_starves()

    def served(self, run: Run[Item], items: list[Item]) -> None:
        assert self.may_go_together([item.shape for item in run.items])
        assert run.express == all(map(self.express, run.items))
        assert run.express or not run.spare
        for item in items:
            assert self.waiting[item.line].pop(0) is item
            self.passed[item.line] = 0
        # Nothing is left that fits.
        lines = self.waiting[:LINES] if run.spare else self.waiting
        shapes = [item.shape for item in run.items]
        assert not any(line and self.may_go_together([*shapes, line[0].shape]) for line in lines)

    def may_go_together(self, shapes: list[Shape]) -> bool:
        if len(shapes) == 1:
            return True
        lengths = [shape.length for shape in shapes]
        room = len(shapes) * max(lengths)
        return (
            len({shape.key for shape in shapes}) == 1
            and shapes[0].key is not None
            and len(shapes) <= self.batch
            and max(lengths) <= SPREAD * min(lengths)
            and (self.room is None or room <= self.room)
        )

    def check_nobody_starves(self) -> None:
        for number, passed in enumerate(self.passed):
            if number >= LINES:
                assert passed < LINES * (EXPRESS_IN_A_ROW + 1)
            elif not self.spare:
                assert passed < LINES + 1 + LINES // EXPRESS_IN_A_ROW

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        before = len(run.items)
        self.queue.fill(run)
        self.served(run, run.items[before:])

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        self.runs.remove(run)
        self.queue.end(run)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.queue.waiting == sum(map(len, self.waiting))
        assert self.queue.running == sum(len(run.items) for run in self.runs)

    @invariant()
    def no_more_runs_than_the_device_has_room_for(self) -> None:
        assert self.running(express=True) + self.running(express=False) <= self.slots
        assert len(self.runs) <= self.slots + self.spare


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
