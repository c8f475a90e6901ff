"""The blocking client: thin, what it does is in `_steps`."""
