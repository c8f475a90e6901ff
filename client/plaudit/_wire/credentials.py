"""Who the client is, and whom it trusts: the metadata of each call, and the credentials of a connection."""

from __future__ import annotations

import grpc

from plaudit._wire.address import Address


def metadata_of(api_key: str | None) -> tuple[tuple[str, str]] | None:
    """The metadata of each call: the key as a bearer token; None without a key."""
    return None if api_key is None else (("authorization", f"Bearer {api_key}"),)


def credentials_for(address: Address, given: grpc.ChannelCredentials | None) -> grpc.ChannelCredentials | None:
    """The credentials of a connection: those given, else the system's for an address with TLS, else None (no TLS)."""
    if given is None and address.secure:
        return grpc.ssl_channel_credentials()
    return given
