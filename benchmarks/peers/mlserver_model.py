"""MLServer: windows by its V2 protocol, its adaptive batching, the stub device (a wait) in place of a model."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class MlServerStub(MLModel):  # type: ignore[misc]
    """Answers each window with its id and how many items came with it."""

    async def load(self) -> bool:
        self._fixed_s, self._each_s = (float(os.environ[name]) / 1000 for name in ("STUB_FIXED_MS", "STUB_EACH_MS"))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        windows = [json.loads(text) for text in StringCodec.decode_input(payload.inputs[0])]
        await asyncio.sleep(self._fixed_s + self._each_s * len(windows))
        answers = [json.dumps({"id": window["id"], "items": len(window["items"])}) for window in windows]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answers", answers)])


async def main() -> None:
    http, grpc, metrics = (int(port) for port in os.environ["BENCH_PORTS"].split(","))
    settings = Settings(
        host="127.0.0.1",
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        parallel_workers=0,
        debug=False,
        metrics_dir=os.environ["BENCH_FOLDER"],
        model_repository_root=str(Path(os.environ["BENCH_FOLDER"])),
    )
    model = ModelSettings(
        name="stub", implementation=MlServerStub, max_batch_size=int(os.environ["STUB_BATCH"]), max_batch_time=0.005
    )
    server = MLServer(settings)
    await server.start([model])


if __name__ == "__main__":
    asyncio.run(main())
