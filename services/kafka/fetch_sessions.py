"""Fetch requests that name only the partitions that changed (Kafka's fetch sessions, KIP-227), which aiokafka lacks.

Without them each fetch lists every partition, and so does its answer: of 64 partitions for one record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import FetchSessionIdNotFound, InvalidFetchSessionEpoch, KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest

# Brokers since Kafka 1.1 know sessions.
VERSION_MIN = 7
EPOCH_MAX = (1 << 31) - 1
LOST = (FetchSessionIdNotFound.errno, InvalidFetchSessionEpoch.errno)
_Partitions = dict[tuple[str, int], tuple[int, int]]


class FetchSession:
    """What one broker remembers of a consumer: the partitions, each with its offset and the most bytes of it."""

    def __init__(self) -> None:
        self.id = self.epoch = 0
        self._known: _Partitions = {}
        self._sent: _Partitions = {}

    def restart(self) -> None:
        """Name all partitions next time; the broker then forgets what it knows."""
        self.epoch, self._known = 0, {}

    def wrap(self, request: FetchRequest) -> SessionFetchRequest:
        """Return the request without what the broker remembers."""
        sent = {(topic, n): (offset, size) for topic, partitions in request.topics for n, offset, size in partitions}
        self._sent = sent
        changed = [(tp, *at) for tp, at in sent.items() if self._known.get(tp) != at]
        forgotten = [(topic, number) for topic, number in self._known if (topic, number) not in sent]
        return SessionFetchRequest(request, self.id, self.epoch, changed, forgotten)

    def accept(self, response: Any) -> bool:
        """Note the response to the last request; False if the broker has lost the session. Raises KafkaError."""
        if response.API_VERSION < VERSION_MIN:
            return True
        if response.error_code in LOST:
            self.restart()
            return False
        if response.error_code:
            error: KafkaError = for_code(response.error_code)()
            raise error
        self.id = response.session_id
        if self.id:
            self.epoch, self._known = self.epoch % EPOCH_MAX + 1, self._sent
        else:
            # The broker has too many sessions.
            self.restart()
        return True


class SessionFetchRequest(FetchRequest):  # type: ignore[misc]
    """A fetch request of a session; for a broker without sessions it is the whole one."""

    API_KEY = FetchRequest.API_KEY

    def __init__(
        self,
        request: FetchRequest,
        id: int,
        epoch: int,
        changed: Iterable[tuple[tuple[str, int], int, int]],
        forgotten: Iterable[tuple[str, int]],
    ) -> None:
        self._whole, self._id, self._epoch = request, id, epoch
        by_topic: Mapping[str, list[tuple[int, int, int]]] = defaultdict(list)
        for (topic, number), offset, size in changed:
            by_topic[topic].append((number, offset, size))
        self._changed = list(by_topic.items())
        forgotten_by_topic: Mapping[str, list[int]] = defaultdict(list)
        for topic, number in forgotten:
            forgotten_by_topic[topic].append(number)
        self._forgotten = list(forgotten_by_topic.items())

    def build(self, request_struct_class: Any) -> Any:
        """Return the request in the version that the broker knows."""
        if request_struct_class.API_VERSION < VERSION_MIN:
            return self._whole.build(request_struct_class)
        whole = self._whole
        changed = FetchRequest(
            whole._max_wait_ms,
            whole._min_bytes,
            whole._max_bytes,
            whole._isolation_level,
            self._changed,
            whole._rack_id,
        )
        struct = changed.build(request_struct_class)
        struct.session_id, struct.session_epoch = self._id, self._epoch
        struct.forgotten_topics_data = self._forgotten
        return struct
