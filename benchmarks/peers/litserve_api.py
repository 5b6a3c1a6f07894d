"""LitServe: windows by HTTP, its own batching, the stub device (a wait) in place of a model."""

import os
import time
from typing import Any

import litserve


class LitServeStub(litserve.LitAPI):  # type: ignore[misc]
    """Answers a window with its id and how many items came with it."""

    def setup(self, device: str) -> None:
        self._fixed_s, self._each_s = (float(os.environ[name]) / 1000 for name in ("STUB_FIXED_MS", "STUB_EACH_MS"))

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    def predict(self, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        time.sleep(self._fixed_s + self._each_s * len(windows))
        return [{"id": window["id"], "items": len(window["items"])} for window in windows]

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


if __name__ == "__main__":
    api = LitServeStub(max_batch_size=int(os.environ["STUB_BATCH"]), batch_timeout=0.005, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), generate_client_file=False, log_level="warning")
