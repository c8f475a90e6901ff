"""An AsyncClient, and the objects that it makes, with the methods of Client: so one test serves both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import plaudit
from plaudit._core.retry import Retry
from plaudit._wire.methods import Method
from tests.client.fakes import POLICY, FakeStream, FakeTransport

_ASYNC = (plaudit.AsyncClient, plaudit.AsyncFeedbackQuery, plaudit.AsyncWatch, plaudit.AsyncFeedbackStream)


class Loop:
    """An event loop in a thread, to run coroutines of an AsyncClient."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(coroutine), self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


class Blocking:
    """Each method waits for the coroutine of the same name; `__iter__` and `__len__` for what replaces them."""

    def __init__(self, inner: Any, loop: Loop) -> None:
        vars(self).update(inner=inner, loop=loop)

    def __getattr__(self, name: str) -> Any:
        return self._shown(getattr(self.inner, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, _ASYNC):
            return Blocking(value, self.loop)
        if inspect.ismethod(value):
            return lambda *args, **options: self._shown(value(*args, **options))
        if inspect.iscoroutine(value):
            return self._shown(self.loop.run(value))
        return value

    def __iter__(self) -> Iterator[Any]:
        rows = aiter(self.inner)
        while True:
            try:
                row = self.loop.run(anext(rows))
            except StopAsyncIteration:
                return
            yield row

    def __next__(self) -> Any:
        try:
            return self.loop.run(anext(self.inner))
        except StopAsyncIteration:
            raise StopIteration from None

    def __len__(self) -> int:
        return len(self.loop.run(self.inner.execute()))

    def __getitem__(self, index: Any) -> Any:
        return self.loop.run(self.inner.execute())[index]

    def __bool__(self) -> bool:
        return bool(self.loop.run(self.inner.any()))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.inner).replace("Async", "")


class AsyncFakeStream:
    """A FakeStream, awaited."""

    def __init__(self, fake: FakeStream, sent: deque[Any] | None = None) -> None:
        self.fake = fake
        self.sent = sent if sent is not None else deque()

    def __aiter__(self) -> AsyncFakeStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self.fake)
        except StopIteration:
            raise StopAsyncIteration from None

    async def send(self, request: Any) -> None:
        self.sent.append(request)

    async def finish(self) -> None:
        pass

    def cancel(self) -> None:
        self.fake.cancel()


class AsyncFake:
    """A FakeTransport, awaited."""

    def __init__(self, fake: FakeTransport) -> None:
        self.fake = fake

    async def unary(self, method: Method[Any, Any], request: Any, *, retried: bool = True, **options: Any) -> Any:
        await asyncio.sleep(0)  # another task may come between
        return self.fake.unary(method, request, retried=retried, **options)

    def stream(self, method: Method[Any, Any], request: Any, **options: Any) -> AsyncFakeStream:
        return AsyncFakeStream(self.fake.stream(method, request, **options))

    def both_streams(self, method: Method[Any, Any], **options: Any) -> AsyncFakeStream:
        sent: deque[Any] = deque()
        # Nothing waits for an empty window: only `finish` ends the requests.
        requests = iter(lambda: sent.popleft() if sent else None, None)
        return AsyncFakeStream(self.fake.both_streams(method, requests, **options), sent)

    def retry(self, patience: float | None = None) -> Retry:
        async def sleep(seconds: float) -> None:
            self.fake.time.sleep(seconds)

        return Retry(POLICY, 10.0 if patience is None else patience, sleep=sleep, clock=self.fake.time)

    async def close(self) -> None:
        self.fake.close()


def blocking_client(project: str | None, loop: Loop, **options: Any) -> Any:
    """A client for tests that are written for `plaudit.Client`."""
    return Blocking(plaudit.AsyncClient(project, **options), loop)


def query_class(client: Any) -> Any:
    """FeedbackQuery, or what replaces it with an asyncio client."""
    return _made(client, plaudit.FeedbackQuery, plaudit.AsyncFeedbackQuery)


def ref_query_class(client: Any) -> Any:
    """RefFeedbackQuery, or what replaces it with an asyncio client."""
    return _made(client, plaudit.RefFeedbackQuery, plaudit.AsyncRefFeedbackQuery)


def _made(client: Any, blocking: Any, of_asyncio: Any) -> Any:
    if isinstance(client, plaudit.Client):
        return blocking
    return lambda *args, client, **options: Blocking(of_asyncio(*args, client=client.inner, **options), client.loop)
