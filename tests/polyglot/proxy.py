"""A proxy that fails some calls, so that a client shows whether it retries by the published service config."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

_STREAMS = ("IngestFeedback", "ImportFeedback", "StreamFeedback", "WatchFeedback")


class FlakyProxy(grpc.GenericRpcHandler):
    """Passes calls on, but answers every third unary one with UNAVAILABLE; `failed` counts those.

    Of these every second one reaches the server, only its answer is lost: a retry must not store anything twice.
    A purge always fails before, because a repeated purge reports fewer.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.failed = 0
        self._calls = 0
        self._lock = threading.Lock()
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of any method; messages stay bytes."""
        path: str = handler_call_details.method
        if path.endswith(_STREAMS):
            return grpc.stream_stream_rpc_method_handler(self._stream(path))
        return grpc.unary_unary_rpc_method_handler(self._unary(path))

    def _unary(self, path: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        method: Any = self._channel.unary_unary(path)

        def forward(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                self._calls += 1
                fails = self._calls % 3 == 0
                self.failed += fails
                before = self.failed % 2 == 1 or path.endswith("PurgeFeedback")
            if fails and before:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy has lost the request")
            response = _or_abort(lambda: method(request, timeout=context.time_remaining()), context)
            if fails:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy has lost the answer")
            return bytes(response)

        return forward

    def _stream(self, path: str) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        method: Any = self._channel.stream_stream(path)

        def forward(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = method(requests, timeout=context.time_remaining())
            context.add_callback(call.cancel)
            while (message := _or_abort(lambda: next(call, None), context)) is not None:
                yield message

        return forward


def _or_abort(call: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    try:
        return call()
    except grpc.RpcError as failed:
        error: Any = failed
        kept = [(key, value) for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
        context.set_trailing_metadata(tuple(kept))
        context.abort(error.code(), error.details())


@contextmanager
def flaky_proxy(target: str) -> Iterator[tuple[FlakyProxy, str]]:
    """A proxy in front of the server at `target`; yields the `host:port` to call instead."""
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(8) as threads:
        proxy = FlakyProxy(channel)
        server = grpc.server(threads, handlers=[proxy])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield proxy, f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()
