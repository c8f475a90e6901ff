"""The plaudit server."""
