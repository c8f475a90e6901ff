"""The error of settings; it carries a message that an operator can act on, and nothing else."""

from __future__ import annotations


class ConfigError(Exception):
    """A setting is unknown or wrong; the message says which one, and what to do."""
