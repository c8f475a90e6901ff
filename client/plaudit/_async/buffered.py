"""A writer in the background for asyncio: the one of `_sync.buffered`, whose thread calls through the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from plaudit._core.errors import NotStoredError, UnavailableError
from plaudit._core.keys import Key
from plaudit._core.options import NONE, CallOptions
from plaudit._core.retry import Retry
from plaudit._core.writing import Report
from plaudit._sync.buffered import BufferedWriter
from plaudit._wire.methods import Method, RequestT, ResponseT

if TYPE_CHECKING:
    from plaudit import v1
    from plaudit._wire.transport import AsyncTransport


class AsyncBufferedWriter:
    """A `BufferedWriter` whose waiting is awaited; made by `AsyncClient.buffered`, and an async context manager.

    Records are stored by a thread of its own, whose calls are made in the event loop; close it before the loop ends.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        project_of: Callable[[v1.Feedback], str],
        *,
        spool: str | os.PathLike[str] | None,
        max_records: int,
        max_bytes: int,
        linger: float,
        patience: float,
        key: Key | None = None,
        options: CallOptions = NONE,
    ) -> None:
        through: Any = _ThroughLoop(transport, asyncio.get_running_loop())
        self._inner = BufferedWriter(
            through,
            project_of,
            spool=spool,
            max_records=max_records,
            max_bytes=max_bytes,
            linger=linger,
            patience=patience,
            key=key,
            options=options,
        )

    async def add(self, record: Mapping[str, Any], *, timeout: float | None = None) -> str:
        """As `BufferedWriter.add`; other tasks go on while the buffer is full."""
        try:
            return self._inner.add(record, timeout=0)
        except TimeoutError:
            return await asyncio.to_thread(self._inner.add, record, timeout=timeout)

    async def flush(self, timeout: float | None = None) -> Report:
        """As `BufferedWriter.flush`."""
        return await asyncio.to_thread(self._inner.flush, timeout)

    async def close(self, timeout: float | None = None) -> Report:
        """As `BufferedWriter.close`."""
        return await asyncio.to_thread(self._inner.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            report = await self.close()
            if report.refused or report.pending:
                raise NotStoredError.of(report)
            if error is not None:
                error.add_note(self._inner._note(report))
        except Exception as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def __repr__(self) -> str:
        return f"Async{self._inner!r}"

    async def _close_with_client(self) -> Report | None:
        return await asyncio.to_thread(self._inner._close_with_client)


class _ThroughLoop:
    """The part of a `Transport` that a writer's thread needs, over a transport of asyncio."""

    def __init__(self, transport: AsyncTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT, **options: Any) -> ResponseT:
        """Make the call in the event loop, and wait for it.

        Raises RuntimeError when the loop has ended: then the writer fails, and reports what is not stored.
        """
        call = self._transport.unary(method, request, **options)
        try:
            answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError:
            call.close()  # it never began
            raise RuntimeError("the event loop ended before its buffered writer was closed") from None
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise UnavailableError("the event loop is ending") from None

    def retry(self, patience: float | None = None) -> Retry:
        """As `Transport.retry`."""
        return self._transport.retry(patience)
