"""A process: modules of the services, their entry point with messages instead of tracebacks, memory, and groups of coroutines."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import re
import sys
from collections.abc import Callable, Coroutine
from typing import NoReturn

from services.contract.user_errors import BraidError

# Each service is started as a module of its own, by `braid run` and by `braid up`.
SERVICE_MODULES = {
    "aligner": "services.aligner",
    "fusion": "services.fusion",
    "gateway": "services.gateway",
    "mqtt": "services.integrations.mqtt",
    "wyoming": "services.integrations.wyoming",
}


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with the code that it returns, or with that of the BraidError that it raises."""
    try:
        code = main()
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)


# New objects before a collection of the youngest generation, and collections of it before one of each older generation.
THRESHOLDS = (50_000, 20, 100)


def freeze_loaded_objects() -> None:
    """Exclude all objects that exist now from garbage collection; call it once, when the modules are loaded."""
    gc.collect()
    gc.freeze()


def collect_cycles_rarely() -> None:
    """Exclude existing objects from garbage collection and collect less often; for services that create no cycles.

    The aligner's state is many small objects without cycles, which reference counts free; the collector only walks
    them. With Python's defaults (700, 10, 10) a chunk costs 1.9 times as much with 10,000 open sessions as with 100;
    with these thresholds 1.2 times (`make bench-sessions`).

    The gateway and the fusion worker keep the defaults: a Kafka consumer that is stopped or reassigned before it used
    all that it fetched leaves that in a cycle. The gateway does so for each event that it archives, the fusion worker
    for each read of a topic while Redis is down, and with these thresholds each would leak 4 MB.
    """
    freeze_loaded_objects()
    gc.set_threshold(*THRESHOLDS)


# A mapping of a file in /proc/self/smaps: begin, end, whether it is writable and whether it is private.
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .([-w]).([ps]) \S+ \S+ [1-9]\d* ")
_MADV_DONTNEED = 4


def release_library_pages() -> None:
    """Unmap the pages of libraries that were read while they were loaded; call it once, when the modules are loaded.

    The dynamic linker reads tables of symbols and relocations that nothing needs afterwards: 210 of the 545 MB of a fusion
    worker. The pages stay in the page cache while memory is free, and one that is used again is mapped again. Only
    mappings that are read-only and have no page of their own are touched, so that nothing is lost. Elsewhere than on
    Linux it does nothing.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except (OSError, AttributeError):
        return
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    mapping: re.Match[str] | None = None
    for line in lines:
        if (begun := _MAPPING.match(line)) is not None or line[0].islower() or line[0].isdigit():
            mapping = begun
        elif mapping is not None and line.startswith("Anonymous:") and line.split()[1] == "0":
            begin, end = int(mapping[1], 16), int(mapping[2], 16)
            if mapping.group(3, 4) == ("-", "p"):
                madvise(begin, end - begin, _MADV_DONTNEED)


async def run_until_first_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Run coroutines until the first one ends, then cancel the rest. Raises what the first one raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def raise_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled.

    A loop that survives errors calls it when it has caught one: an error of what is closed on the way out replaces the
    cancellation, and the task would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
