"""Corrections by HTTP: what an answer should have been, kept with its media for training."""

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
from services.gateway.ingest import read_body
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
from services.storage.labels import LabelStore
from services.storage.training_sample import InvalidLabel, SampleNotRetained, build_sample, check_label

BODY_BYTES_MAX = 1_024
WITHIN_S = 20


class LabelHandler:
    """One correction at a time: each reads the topics."""

    def __init__(
        self,
        labels: LabelStore,
        evidence: EventArchive,
        reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
        topics: Topics,
        partitions: int,
        future_us: int,
        hidden: Redactor,
    ) -> None:
        self._hidden = hidden
        self._labels, self._evidence, self._reader = labels, evidence, reader
        self._topics, self._partitions, self._future_us = topics, partitions, future_us
        self._one = asyncio.Lock()

    async def post(self, request: Request) -> Response:
        """`{"label": …}` for a prediction: 201 with its line of the manifest."""
        body = await read_body(request, BODY_BYTES_MAX)
        try:
            label = canonical.loads_object(body or b"").get("label")
            check_label(label if isinstance(label, str) else "")
            asked = PredictionKey.parse(request.path_params["id"])
        except canonical.InvalidJson as error:
            return error_response(422, f'{{"label": …}} is needed: {error}')
        except InvalidLabel as error:
            return error_response(422, str(error))
        except InvalidPredictionId as error:
            return error_response(404, str(error))
        try:
            async with self._one:
                row = await asyncio.wait_for(self._keep(asked, str(label)), WITHIN_S)
        except (KafkaError, TimeoutError):
            return error_response(503, "the topics cannot be read: try again")
        except SampleNotRetained as error:
            return error_response(404, str(error))
        except OSError:
            return error_response(503, "the label cannot be written: see labels.folder")
        return error_response(404, "this prediction is not kept any more") if row is None else json_response(row, 201)

    async def _keep(self, asked: PredictionKey, label: str) -> dict[str, Any] | None:
        found = None if self._hidden.is_forgotten(asked.session, asked.start_us) else await self._find(asked)
        if found is None:
            return None
        found.inputs = [
            i
            for i in found.inputs
            if not self._hidden.is_muted(asked.session, i.modality, i.member.t_us, i.member.t_us + i.member.duration_us)
        ]
        return await asyncio.to_thread(self._labels.save, build_sample(found, label))

    async def _find(self, asked: PredictionKey) -> PredictionEvidence | None:
        async with self._reader() as reader:
            found = await find_in_topics(reader, self._topics, self._partitions, self._future_us, asked)
        if found is not None and found.is_complete:
            return found
        return await asyncio.to_thread(find_in_archive, self._evidence, self._topics, asked) or found
