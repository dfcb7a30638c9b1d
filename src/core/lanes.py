"""Who may work next: so many calls at once, the others in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque

from core.errors import VoiceStackError


class Lane:
    """A queue in front of `slots` slots, whose waiting calls can be turned away all at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.waiting = 0
        """Calls that are on their way to a slot; the caller counts them."""

    @property
    def free(self) -> int:
        """How many slots are free."""
        return max(self._slots - self._taken, 0)

    @property
    def full(self) -> bool:
        """Whether a call that came now would wait."""
        return self.free == 0 or bool(self._queue)

    async def acquire(self) -> None:
        """Wait for a slot; raises the error of `refuse`."""
        if not self.full:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The slot was given to a caller that left at the same moment.
                self.release()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back, to the next in the queue if there is one."""
        self._taken -= 1
        self._hand_out()

    def resize(self, slots: int) -> None:
        """Have so many slots from now on; those that are taken stay taken."""
        self._slots = slots
        self._hand_out()

    def refuse(self, error: VoiceStackError) -> None:
        """Turn away all who wait."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(error)

    def _hand_out(self) -> None:
        while self._queue and self.free:
            turn = self._queue.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
