"""Decodes costly payloads beside the pipeline, so that no other session waits for them.

One thread of low priority decodes one payload at a time, of each session in turn. The windows that need them are put off
meanwhile; their payloads are then found decoded.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from services.contract.kafka_record import MemberPosition
from services.contract.media_headers import decode_pixels
from services.contract.window import Member, Window, position_of
from services.fusion.fair_queue import QueuedWindow
from services.fusion.inference import Inference
from services.fusion.stage_values import FAILURES
from services.storage.payload_cache import Payload

# Images of a window that are not decoded yet and have more pixels together (see `decode_pixels`): some 0.2 s of CPU time.
COSTLY_PIXELS = 8_000_000
NICENESS = 10
VIDEO = "video"


@dataclass(slots=True)
class DecodingJob:
    """Windows of one session that are put off, and the payloads that the first of them still needs."""

    inference: Inference
    queued: list[QueuedWindow]
    members: list[tuple[Member, Payload]]
    took_us: float = 0.0


def costly_members(window: Window, payloads: Mapping[MemberPosition, Payload]) -> list[tuple[Member, Payload]]:
    """Return the images of a window among these payloads if decoding them is costly, otherwise nothing."""
    stream = window.modalities.get(VIDEO)
    if stream is None or VIDEO in window.muted:
        return []
    fetched = [(m, payload) for m in stream.members if (payload := payloads.get(position_of(VIDEO, m))) is not None]
    return fetched if sum(decode_pixels(payload.body) for _, payload in fetched) > COSTLY_PIXELS else []


class AheadDecoder:
    """Decodes for windows that are put off.

    Args:
        on_decoded: Called with the windows of a session, once they can go on, and the time that it took (us).
    """

    def __init__(self, on_decoded: Callable[[Sequence[QueuedWindow], float], None]) -> None:
        self._on_decoded = on_decoded
        self._jobs: OrderedDict[str, DecodingJob] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "decode-ahead", initializer=_lower_priority)
        self._task: asyncio.Task[None] | None = None

    def put(self, inference: Inference, queued: list[QueuedWindow], members: list[tuple[Member, Payload]]) -> None:
        """Decode these images, then let the windows of this session go on."""
        self._jobs[queued[0].window.session] = DecodingJob(inference, queued, members)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_busy(self) -> bool:
        """True while windows are put off. Raises what the decoding raised."""
        if self._task is not None and self._task.done():
            self._task.result()
        return bool(self._jobs)

    async def drain(self) -> None:
        """Wait until no window is put off. Raises what the decoding raised."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    async def clear(self) -> None:
        """Forget all windows that are put off."""
        self._jobs.clear()
        await self.drain()

    async def stop(self) -> None:
        """Forget all windows and end the thread."""
        await self.clear()
        self._thread.shutdown()

    async def _run(self) -> None:
        while self._jobs:
            session, job = next(iter(self._jobs.items()))
            self._jobs.move_to_end(session)
            if job.members:
                member, payload = job.members.pop()
                job.took_us += await asyncio.get_running_loop().run_in_executor(
                    self._thread, _decode, job.inference, member, payload
                )
            if not job.members and self._jobs.get(session) is job:
                del self._jobs[session]
                self._on_decoded([replace(q, prepared=True) for q in job.queued], job.took_us)


def _decode(inference: Inference, member: Member, payload: Payload) -> float:
    """Decode one image and return the CPU time that it took (us)."""
    began_s = time.thread_time()
    with suppress(*FAILURES):  # the window that needs it fails in the same way, and reports it
        inference.decode_ahead(VIDEO, member, payload)
    return (time.thread_time() - began_s) * 1e6


def _lower_priority() -> None:
    with suppress(OSError, AttributeError):  # not every system has priorities of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
