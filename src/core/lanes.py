"""Who may work next: so many calls at once, the others in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque

from core.errors import VoiceStackError


class Lane:
    """A queue in front of `slots` slots, whose waiting calls can be turned away all at once."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._queue: deque[asyncio.Future[None]] = deque()
        self.waiting = 0
        """Calls that are on their way to a slot; the caller counts them."""

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self._free

    @property
    def full(self) -> bool:
        """Whether a call that came now would wait."""
        return self._free == 0 or bool(self._queue)

    async def acquire(self) -> None:
        """Wait for a slot; raises the error of `refuse`."""
        if not self.full:
            self._free -= 1
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
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def refuse(self, error: VoiceStackError) -> None:
        """Turn away all who wait."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(error)
