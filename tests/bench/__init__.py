"""Measurements beside their controls: `python -m tests.bench --help`; `make test` only sees that they run."""
