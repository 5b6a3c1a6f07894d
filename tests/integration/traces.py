"""A collector of OpenTelemetry traces (OTLP over HTTP) inside the test process."""

from __future__ import annotations

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS_MAX = 50_000


class TraceCollector:
    """A store of the newest spans, each with the name of the service that sent it."""

    def __init__(self) -> None:
        self.spans: deque[tuple[str, Span]] = deque(maxlen=SPANS_MAX)
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                    (name,) = [a.value.string_value for a in sent.resource.attributes if a.key == "service.name"]
                    spans.extend((name, span) for scope in sent.scope_spans for span in scope.spans)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="collector", daemon=True).start()

    def spans_of(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace that have arrived."""
        return [span for _, span in list(self.spans) if span.trace_id.hex() == trace_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
