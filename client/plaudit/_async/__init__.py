"""The client of asyncio: thin, what it does is in `_steps`."""
