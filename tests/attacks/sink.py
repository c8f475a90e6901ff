"""A listener that takes whatever comes and answers nothing: `python -m tests.attacks.sink` prints its address.

An attacker beside it tells what the attacker's own work costs others on the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

from tests.attacks.frames import SETTINGS, WINDOW_UPDATE, frame

_WINDOW = struct.pack(">I", 2**31 - 1 - 65_535)


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) + frame(WINDOW_UPDATE, 0, 0, _WINDOW))
    with contextlib.suppress(OSError):
        while taken := await reader.read(2**20):
            if len(taken) > 2**15:
                # What long messages use up of the window of their connection.
                writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(taken))))


async def main() -> None:
    server = await asyncio.start_server(_take, "127.0.0.1", 0)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
