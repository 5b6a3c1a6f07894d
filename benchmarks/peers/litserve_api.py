"""LitServe: windows by HTTP, its own batching, a wait instead of a model."""

import os
import time
from typing import Any

import litserve


class LitServeStub(litserve.LitAPI):  # type: ignore[misc]
    """Return the id and the number of items of each window."""

    def setup(self, device: str) -> None:
        """Read how long the stub waits."""
        self._fixed_s, self._each_s = (float(os.environ[name]) / 1000 for name in ("STUB_FIXED_MS", "STUB_EACH_MS"))

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the request, which is the window."""
        return request

    def predict(self, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Wait, then predict a batch."""
        time.sleep(self._fixed_s + self._each_s * len(windows))
        return [{"id": window["id"], "items": len(window["items"])} for window in windows]

    def encode_response(self, prediction: dict[str, Any]) -> dict[str, Any]:
        """Return the prediction as it is."""
        return prediction


if __name__ == "__main__":
    api = LitServeStub(max_batch_size=int(os.environ["STUB_BATCH"]), batch_timeout=0.005, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), generate_client_file=False, log_level="warning")
