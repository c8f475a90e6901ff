"""Delivers changes of a project elsewhere, each at least once and in order; private, for `plaudit relay`."""
