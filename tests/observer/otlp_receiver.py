"""An OTLP receiver over HTTP and gRPC, small and real: it parses what it is sent, and can refuse, hang or go away."""

from __future__ import annotations

import gzip
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Received:
    """What arrived, and how to answer: ``status`` for HTTP, and ``refuse`` for spans by name (status 400)."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.status = 200
        self.refuse = ""
        self.hang = threading.Event()
        self.attempts = 0

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def take(self, path: str, body: bytes) -> int:
        self.attempts += 1
        if self.hang.is_set():
            while self.hang.is_set():
                threading.Event().wait(0.05)
            return 503
        if self.status != 200:
            return self.status
        if path == "/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            return 200
        request = ExportTraceServiceRequest.FromString(body)
        names = [s.name for r in request.resource_spans for c in r.scope_spans for s in c.spans]
        if self.refuse and self.refuse in names:
            return 400
        self.traces.append(request)
        return 200


class HttpReceiver:
    """OTLP/HTTP on a free port of the loopback, or the one it had before."""

    def __init__(self, received: Received, port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status = received.take(self.path, body)
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class GrpcReceiver:
    """OTLP/gRPC traces on a free port of the loopback."""

    def __init__(self, received: Received) -> None:
        def export(request: bytes, context: grpc.ServicerContext) -> bytes:
            if received.take("/v1/traces", request) != 200:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
            return b""

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.trace.v1.TraceService",
            {"Export": grpc.unary_unary_rpc_method_handler(export)},
        )
        self._server.add_generic_rpc_handlers((handler,))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait()
