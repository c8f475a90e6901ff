"""The default client: made by `init`, or from the environment at the first use, and dropped by `reset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from plaudit import _settings
from plaudit._settings import Options
from plaudit._sync import default
from plaudit._sync.client import Client

if TYPE_CHECKING:
    import grpc

    from plaudit._wire.transport import Transport


def init(
    project: str | None = None,
    *,
    channel: grpc.Channel | None = None,
    transport: Transport | None = None,
    **options: Unpack[Options],
) -> Client:
    """Make the default client, which is used wherever no client is given, and return it. It connects at the first call.

    The arguments are those of `Client`; what is left out comes from PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY
    or PLAUDIT_API_KEY_FILE. The default clients of asyncio have the same options, without `channel` and `transport`,
    which block. Raises ValueError for what is malformed.
    """
    client = Client(project, channel=channel, transport=transport, **options)
    _settings.put_in_force(client._settings)
    default.use(client)
    return client


def reset() -> None:
    """Forget the default client and its settings; the next use reads the environment. Closes no client."""
    _settings.put_in_force(None)
    default.use(None)
