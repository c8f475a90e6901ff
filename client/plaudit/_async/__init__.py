"""The client of asyncio: thin, what it does is in `_steps`."""

# Whichever module of it is loaded first, the client is loaded too: queries make it where none is given.
from plaudit._async import client  # noqa: F401
