"""Labels by HTTP: the right label of a prediction, saved with its media for training."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from starlette.requests import Request
from starlette.responses import Response

from services.contract import canonical
from services.contract.topics import Topics
from services.gateway.ingest import body_timeout_response, read_body
from services.gateway.redaction import Redactor
from services.gateway.responses import error_response, json_response
from services.storage.archive import EventArchive
from services.storage.evidence import (
    InvalidPredictionId,
    PredictionEvidence,
    PredictionKey,
    find_in_archive,
    find_in_topics,
)
from services.storage.labels import InvalidLabel, LabelStore, SampleNotRetained, build_sample, check_label

BODY_BYTES_MAX = 1_024
FIND_WITHIN_S = 20


class LabelHandler:
    """Handles one label at a time, because each reads the topics."""

    def __init__(
        self,
        labels: LabelStore,
        archive: EventArchive,
        open_reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
        topics: Topics,
        partitions: int,
        future_us: int,
        redactor: Redactor,
    ) -> None:
        self._labels, self._archive, self._open_reader = labels, archive, open_reader
        self._topics, self._partitions, self._future_us = topics, partitions, future_us
        self._redactor, self._lock = redactor, asyncio.Lock()

    async def post(self, request: Request) -> Response:
        """Save `{"label": …}` for a prediction: 201 with its line of the manifest."""
        try:
            body = await read_body(request, BODY_BYTES_MAX)
        except TimeoutError:
            return body_timeout_response()
        try:
            label = canonical.loads_object(body or b"").get("label")
            check_label(label if isinstance(label, str) else "")
            key = PredictionKey.parse(request.path_params["id"])
        except canonical.InvalidJson as error:
            return error_response(422, f'{{"label": …}} is needed: {error}')
        except InvalidLabel as error:
            return error_response(422, str(error))
        except InvalidPredictionId as error:
            return error_response(404, str(error))
        try:
            async with self._lock:
                row = await asyncio.wait_for(self._save(key, str(label)), FIND_WITHIN_S)
        except (KafkaError, TimeoutError):
            return error_response(503, "the topics cannot be read: try again")
        except SampleNotRetained as error:
            return error_response(404, str(error))
        except OSError:
            return error_response(503, "the label cannot be written: check labels.folder")
        return (
            error_response(404, "this prediction is not retained any more") if row is None else json_response(row, 201)
        )

    async def _save(self, key: PredictionKey, label: str) -> dict[str, Any] | None:
        evidence = None if self._redactor.is_forgotten(key.session, key.start_us) else await self._find(key)
        if evidence is None:
            return None
        evidence.inputs = [
            i
            for i in evidence.inputs
            if not self._redactor.is_muted(key.session, i.modality, i.member.t_us, i.member.t_us + i.member.duration_us)
        ]
        return await asyncio.to_thread(self._labels.save, build_sample(evidence, label))

    async def _find(self, key: PredictionKey) -> PredictionEvidence | None:
        async with self._open_reader() as reader:
            evidence = await find_in_topics(reader, self._topics, self._partitions, self._future_us, key)
        if evidence is not None and evidence.is_complete:
            return evidence
        return await asyncio.to_thread(find_in_archive, self._archive, self._topics, key) or evidence
