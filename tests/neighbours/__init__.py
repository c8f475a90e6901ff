"""One caller beside the others: attacks with legal requests, and what they cost callers of other projects.

`make test-neighbours` runs them all; attacks with illegal and malformed requests are in tests/attacks.
"""
