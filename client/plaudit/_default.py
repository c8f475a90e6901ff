"""The default client: made by `init`, or from the environment at the first use, and dropped by `reset`."""

from __future__ import annotations

from plaudit import _settings
from plaudit._settings import DEFAULT_TIMEOUT
from plaudit._sync import default
from plaudit._sync.client import Client


def init(
    project: str | None = None,
    *,
    target: str | None = None,
    api_key: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Client:
    """Make the default client, which is used wherever no client is given, and return it. It connects at the first call.

    `project` is `entity/project`, `target` is `host:port` or `https://host:port`, `timeout` is in seconds; what is
    left out comes from PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY. Raises ValueError for what is malformed.
    """
    client = Client(project, target=target, api_key=api_key, timeout=timeout)
    _settings.put_in_force(client._settings)
    default.use(client)
    return client


def reset() -> None:
    """Forget the default client and its settings; the next use reads the environment. Closes no client."""
    _settings.put_in_force(None)
    default.use(None)
