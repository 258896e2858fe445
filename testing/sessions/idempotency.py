"""`Idempotency-Key`: the same key gets the same answer, and the work is done once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from testing.sessions.errors import Refusal


@dataclass(frozen=True)
class KeptAnswer:
    """What a call that was carried out answered, a refusal too."""

    status: int
    body: bytes


@dataclass
class _Slot:
    fingerprint: str
    # Done without a result when the first call ended before its work: the next one is then the first.
    answer: asyncio.Future[KeptAnswer | None]


class Keys:
    """The keys seen so far."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}

    async def once(
        self,
        key: str | None,
        fingerprint: str,
        slow: Callable[[], Awaitable[None]],
        work: Callable[[], Awaitable[KeptAnswer]],
    ) -> tuple[KeptAnswer, bool]:
        """The answer to a call, and whether it is the repeated answer of an earlier one.

        The key is taken at arrival, so a second call waits for the first, however slow that one is before its work.

        :param slow: what happens to each call before the work; what it raises goes to the caller.
        :raises Refusal: 422 when the key came with another request.
        """
        if key is None:
            await slow()
            return await work(), False
        first = self._enter(key, fingerprint)
        delayed = False
        while True:
            slot = self._slots[key]
            if first:
                try:
                    if not delayed:
                        await slow()
                    answer = await work()
                except BaseException:
                    del self._slots[key]
                    slot.answer.set_result(None)
                    raise
                slot.answer.set_result(answer)
                return answer, False
            if not delayed:
                await slow()
                delayed = True
            if (repeated := await asyncio.shield(slot.answer)) is not None:
                return repeated, True
            first = self._enter(key, fingerprint)

    def _enter(self, key: str, fingerprint: str) -> bool:
        slot = self._slots.get(key)
        if slot is None:
            self._slots[key] = _Slot(fingerprint, asyncio.get_running_loop().create_future())
            return True
        if slot.fingerprint != fingerprint:
            raise Refusal(422, f"the Idempotency-Key {key} was used for another request")
        return False
