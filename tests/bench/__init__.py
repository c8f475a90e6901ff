"""Measurements; none is part of `make test`."""
