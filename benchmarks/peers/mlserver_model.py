"""MLServer: windows by its V2 protocol, its adaptive batching, a wait instead of a model."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class MlServerStub(MLModel):  # type: ignore[misc]
    """Return the id and the number of items of each window."""

    async def load(self) -> bool:
        """Read how long the stub waits."""
        self._fixed_s, self._each_s = (float(os.environ[name]) / 1000 for name in ("STUB_FIXED_MS", "STUB_EACH_MS"))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Wait, then predict a batch."""
        windows = [json.loads(text) for text in StringCodec.decode_input(payload.inputs[0])]
        await asyncio.sleep(self._fixed_s + self._each_s * len(windows))
        predictions = [json.dumps({"id": window["id"], "items": len(window["items"])}) for window in windows]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answers", predictions)])


async def main() -> None:
    """Serve until stopped."""
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
