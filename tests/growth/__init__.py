"""Stores of ten times as many rows beside each other: what must not grow with them. `make test-growth` runs it.

What it measures and what came out is in docs/performance.md.
"""
