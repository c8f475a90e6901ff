"""Steps on a connection: how statements and rows go to the database, in a transaction that ends whatever happens."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from operator import itemgetter
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncCursor
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus

from plaudit_server.store.base import Insert, Statement, Steps, Table
from plaudit_server.store.engines.postgres.schema import Connection

T = TypeVar("T")

# Rows that one statement inserts faster than a COPY, which takes two more round trips. The driver keeps no statement
# of more than 50 values: that for two rows would be made anew each time, which takes longer than a COPY.
_FEW_ROWS: Final = 1
_COPIED: Final = 256  # rows, after which other calls go on
# Rows fetched at a time where bytes are counted: payloads may have a megabyte each.
_CHUNK_ROWS: Final = 16 if psycopg.capabilities.has_stream_chunked() else 1

Mark = tuple[Any, ...]
"""The values of a table's proof columns in a row that a transaction wrote, by which it can be recognised."""


async def drive(connection: Connection, steps: Steps[T], marks: dict[Table, list[Mark]] | None = None) -> T:
    """Run a generator's statements and send it the rows, until it returns; `marks` gets what was written."""
    cursor = connection.cursor(binary=True)
    piped = is_piped(connection)
    try:
        step = next(steps)
        while True:
            if piped:  # its last statement may not be done
                cursor = connection.cursor(binary=True)
            if isinstance(step, Insert):
                rows: list[Any] = []
                await _insert(cursor, step)
            else:
                rows = await _rows(cursor, step)
            if marks is not None:
                _note(step, marks)
            step = steps.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def drive_together(
    connection: Connection, writing: Mapping[str, Steps[T]], marks: Mapping[str, dict[Table, list[Mark]]]
) -> dict[str, T]:
    """Run the steps of several projects side by side, and what all of them ask or insert as one statement."""
    results: dict[str, T] = {}
    answers: dict[str, list[Any] | None] = dict.fromkeys(writing)
    while answers:
        steps: dict[str, Statement | Insert] = {}
        for project, rows in answers.items():
            try:
                steps[project] = next(writing[project]) if rows is None else writing[project].send(rows)
            except StopIteration as stop:
                results[project] = stop.value
        found: dict[str, list[Any]] = {project: [] for project in steps}
        inserts: dict[Table, list[tuple[Any, ...]]] = {}
        many: dict[str, list[tuple[Any, ...]]] = {}
        silent: set[str] = set()
        for project, step in steps.items():
            _note(step, marks[project])
            if isinstance(step, Insert):
                inserts.setdefault(step.table, []).extend(step.rows)
            elif step.many is not None:
                many.setdefault(step.many.sql, []).extend(step.many.rows)
                if step.silent:
                    silent.add(step.many.sql)
            else:
                found[project] = await _rows(connection.cursor(binary=True), step)
        for sql, asked in many.items():
            together = Statement(sql, [list(column) for column in zip(*asked, strict=True)], silent=sql in silent)
            for row in await _rows(connection.cursor(binary=True), together):
                found[row[0]].append(row[1:])
        for table, inserted in inserts.items():
            await _insert(connection.cursor(binary=True), Insert(table, inserted))
        answers = dict(found)
    return results


async def _rows(cursor: AsyncCursor[Any], step: Statement) -> list[Any]:
    if step.budget is not None:
        assert not is_piped(cursor.connection), "a command that asks for many rows pipes nothing"
        return await bounded_rows(cursor, step, step.budget)
    await cursor.execute(step.sql.encode(), step.params)
    if not is_piped(cursor.connection):
        return await cursor.fetchall() if cursor.description else []
    if step.silent:
        return []
    try:
        return await cursor.fetchall()
    except psycopg.ProgrammingError:
        if cursor.pgresult is None or cursor.pgresult.status != ExecStatus.COMMAND_OK:
            raise
        return []  # it is done, and is none that has rows


def is_piped(connection: Connection) -> bool:
    """Whether statements are sent without waiting for those before them."""
    return connection.pgconn.pipeline_status != PipelineStatus.OFF


def _note(step: Statement | Insert, marks: dict[Table, list[Mark]]) -> None:
    """Remember by what a step's transaction may be known."""
    if isinstance(step, Insert):
        if step.table.proof:
            proof = itemgetter(*map(step.table.place, step.table.proof))
            marks.setdefault(step.table, []).extend(map(proof, step.rows))
    elif step.proof is not None:
        table, mark = step.proof
        marks.setdefault(table, []).append(mark)


def proofs(table: Table) -> str:
    """The statement that finds the proof columns of rows of a project, by a list of values of the first of them.

    Both are bound once for each table that the rows may be in by now.
    """
    return " UNION ALL ".join(
        f"SELECT {', '.join(table.proof)} FROM {name} WHERE project = %s AND {table.proof[0]} = ANY(%s)"
        for name in places(table)
    )


def places(table: Table) -> tuple[str, ...]:
    """The tables in which a row that was written to this one may be."""
    return table.kept_in or (table.name,)


@asynccontextmanager
async def transaction(connection: Connection, *begin: str, piped: bool = False) -> AsyncIterator[None]:
    """Begin; roll back if the block fails, and leave the commit to the caller.

    With `piped`, statements of the block are sent without waiting for those before them, unless it asks for rows; all
    are done at its end, where the error of the first that failed is raised.
    """
    try:
        if piped:
            async with connection.pipeline():
                for statement in begin:
                    await connection.execute(statement.encode())
                yield
        else:
            await connection.execute("; ".join(begin).encode())
            yield
    except BaseException as error:
        if piped and not isinstance(error, psycopg.Error):
            await connection.close()  # results that are still to come would be taken for those of the next statement
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                await connection.rollback()
        raise


async def _insert(cursor: AsyncCursor[Any], step: Insert) -> None:
    table, rows = step.table, step.rows
    columns = ", ".join(table.columns)
    if len(rows) <= _FEW_ROWS:
        places = f"({', '.join(['%s'] * len(table.columns))})"
        query = f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([places] * len(rows))}"
        await cursor.execute(query.encode(), [value for row in rows for value in row])
        return
    if is_piped(cursor.connection):  # where a COPY cannot be
        types = [table.types.get(column, "text") for column in table.columns]
        slots = ", ".join(f"%s::{type}[]" for type in types)
        arrays = [
            _ARRAYS.get(type, _numbers)(column) for type, column in zip(types, zip(*rows, strict=True), strict=True)
        ]
        await cursor.execute(f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({slots})".encode(), arrays)
        return
    async with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types([table.types.get(column, "text") for column in table.columns])
        for number, row in enumerate(rows, 1):
            await copy.write_row(row)
            if number % _COPIED == 0:
                await asyncio.sleep(0)  # the driver makes bytes of very many before it waits for anything


# Each column as the text of an array: the driver makes one of a list value by value, in ten times the time.


def text_array(column: Sequence[str | None]) -> str:
    """A list of texts as PostgreSQL reads an array."""
    found = ("NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in column)
    return "{" + ",".join(found) + "}"


def _bytes(column: Sequence[bytes | None]) -> str:
    return "{" + ",".join(["NULL" if some is None else f'"\\\\x{bytes(some).hex()}"' for some in column]) + "}"


def _numbers(column: Sequence[int | None]) -> str:
    return "{" + ",".join(["NULL" if number is None else str(number) for number in column]) + "}"


_ARRAYS: Final[Mapping[str, Callable[[Any], str]]] = {"text": text_array, "bytea": _bytes}


async def bounded_rows(cursor: AsyncCursor[Any], step: Statement, budget: int) -> list[Any]:
    """Rows up to and including the one that passes the budget, and at least two; the others are not sent."""
    taken: list[Any] = []
    stream = cursor.stream(step.sql.encode(), step.params, binary=True, size=_CHUNK_ROWS)
    async with aclosing(stream) as rows:  # type: ignore[type-var]
        async for row in rows:
            taken.append(row)
            budget -= len(row[0]) + len(row[1])
            if budget < 0 and len(taken) > 1:
                break
    return taken


@contextmanager
def severed_at(connection: Connection, deadline: float | None) -> Iterator[None]:
    """Cut a connection off at a time of the loop's clock, whatever it waits for; what waits gets an error."""
    if deadline is None:
        yield
        return
    timer = asyncio.get_running_loop().call_at(deadline, _sever, connection)
    try:
        yield
    finally:
        timer.cancel()


def _sever(connection: Connection) -> None:
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as stream, suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)
