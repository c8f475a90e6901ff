"""plaudit for agents: the official client over stdio, as an agent's host runs it."""
