"""Which server, which project, which key: from the arguments, else from the environment; and the settings in force.

No client is made here, and no file is read.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypedDict

if TYPE_CHECKING:
    import grpc

    from plaudit._core.retry import RetryPolicy

DEFAULT_TARGET: Final = "localhost:50051"
DEFAULT_TIMEOUT: Final = 10.0

_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]+")

ApiKey = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or what returns the key of the next call; for an AsyncClient it may return an awaitable of it."""

Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
"""Further metadata of calls: `{"x-request-id": "…"}`. Keys are lower-case; those that end in `-bin` have bytes."""

Pairs = tuple[tuple[str, str | bytes], ...]


class Options(TypedDict, total=False):
    """How a client reaches its server; what `init`, `Client` and `AsyncClient` take as keywords."""

    target: str | None
    """`host:port`, `https://host:port` for TLS, or `unix:/path`; else PLAUDIT_TARGET, else `localhost:50051`."""
    api_key: ApiKey | None
    """The key, or a function that returns it, called for each call: for tokens that expire. Else PLAUDIT_API_KEY."""
    api_key_file: str | os.PathLike[str] | None
    """A file with the key, read again when it changes. Else PLAUDIT_API_KEY_FILE."""
    timeout: float
    """Deadline of one call with all its attempts, in seconds, counted from when it is sent; 10 unless given."""
    retry: RetryPolicy | None
    """When a failed call is sent again."""
    metadata: Metadata | None
    """Sent with each call."""
    ca_file: str | os.PathLike[str] | None
    """PEM file of the root certificates to trust in place of the system's. Else PLAUDIT_CA_FILE. It means TLS."""
    certificate_file: str | os.PathLike[str] | None
    """PEM file of the client's own certificate chain, for mutual TLS. Else PLAUDIT_CERTIFICATE_FILE."""
    key_file: str | os.PathLike[str] | None
    """PEM file of the certificate's private key. Else PLAUDIT_KEY_FILE."""
    credentials: grpc.ChannelCredentials | None
    """In place of the three files: the credentials of gRPC."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know. Travels by pickle without the text of a key."""

    target: str = DEFAULT_TARGET
    project: str | None = None
    """`entity/project`, for calls that name no project."""
    api_key: ApiKey | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    api_key_file: str | None = None
    retry: RetryPolicy | None = None
    metadata: Pairs = field(default=(), repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.project is not None:
            check_project(self.project)
        check_timeout(self.timeout)
        if isinstance(self.api_key, str):
            check_key(self.api_key)
        elif self.api_key is not None and not callable(self.api_key):
            raise TypeError(f"api_key is a str, or a function that returns one, not {type(self.api_key).__name__}")
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("give only one of api_key and api_key_file")
        if self.api_key is not None or self.api_key_file is not None:
            for key, _ in self.metadata:
                if key == "authorization":
                    raise ValueError("give only one of an api_key and metadata with the key 'authorization'")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together: give both")
        if self.credentials is not None and (self.ca_file or self.certificate_file):
            raise ValueError("credentials replace ca_file, certificate_file and key_file: give only one of them")

    @classmethod
    def resolve(
        cls,
        project: str | None = None,
        target: str | None = None,
        api_key: ApiKey | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        environment: Mapping[str, str] | None = None,
        *,
        api_key_file: str | os.PathLike[str] | None = None,
        retry: RetryPolicy | None = None,
        metadata: Metadata | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> Settings:
        """The arguments, see `Options`; in place of those that are None, what the environment says.

        Raises ValueError for a project that is not written as `entity/project`, a bad timeout, key or metadata, and
        arguments that exclude each other.
        """
        given = os.environ if environment is None else environment

        def choose(argument: str | os.PathLike[str] | None, name: str) -> str | None:
            return given.get(name, "").strip() or None if argument is None else os.fspath(argument)

        if target is not None and not isinstance(target, str):
            raise TypeError(f"target is a str, not {type(target).__name__}")
        if api_key is None and api_key_file is None:
            api_key = choose(None, "PLAUDIT_API_KEY")
        has_files = credentials is None  # which they replace, also those of the environment
        has_pair = has_files and certificate_file is None and key_file is None
        chosen = choose(target, "PLAUDIT_TARGET")
        return cls(
            target=DEFAULT_TARGET if chosen is None else chosen,
            project=choose(project, "PLAUDIT_PROJECT"),
            api_key=api_key,
            timeout=timeout,
            api_key_file=choose(api_key_file, "PLAUDIT_API_KEY_FILE") if api_key is None else _text(api_key_file),
            retry=retry,
            metadata=pairs_of(metadata),
            ca_file=choose(ca_file, "PLAUDIT_CA_FILE") if has_files else _text(ca_file),
            certificate_file=choose(None, "PLAUDIT_CERTIFICATE_FILE") if has_pair else _text(certificate_file),
            key_file=choose(None, "PLAUDIT_KEY_FILE") if has_pair else _text(key_file),
            credentials=credentials,
        )

    def __reduce__(self) -> tuple[Callable[..., Settings], tuple[Any, ...]]:
        if self.credentials is not None:
            raise TypeError(
                "a client with credentials of its own cannot be pickled: give ca_file, certificate_file and key_file "
                "in place of them, or make a client in each process"
            )
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        has_text = isinstance(self.api_key, str)
        if has_text:
            del values["api_key"]
        return _travelled, (values, has_text)


def _travelled(values: Mapping[str, Any], has_text: bool) -> Settings:
    """Settings on the other side of a pickle: the text of a key did not come along."""
    if not has_text:
        return Settings(**values)
    here = Settings.resolve()
    if here.api_key is None and here.api_key_file is None:
        raise ValueError(
            "the text of an api_key does not travel with a pickled client, and there is none here: set PLAUDIT_API_KEY "
            "or PLAUDIT_API_KEY_FILE in this process, or make the client with a function as its api_key"
        )
    return Settings(**{**values, "api_key": here.api_key, "api_key_file": here.api_key_file})


def check_project(project: str) -> str:
    """The project, if it is written as `entity/project`. Raises ValueError if it is not."""
    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise ValueError(f"a project is written as entity/project, not {project!r}")
    return project


def check_timeout(timeout: float) -> float:
    """The number of seconds, if a call can have that much. Raises ValueError if it cannot."""
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    return timeout


def check_key(key: object) -> str:
    """The key, if it can be sent. Raises TypeError or ValueError, without its text, if it cannot."""
    if not isinstance(key, str):
        raise TypeError(f"an api_key is a str, not {type(key).__name__}")
    if not (key and key.isascii() and key.isprintable()):
        raise ValueError("api_key must be printable ASCII, and not empty")  # the text of the key is never shown
    return key


def pairs_of(metadata: Metadata | None) -> Pairs:
    """Metadata as gRPC takes it. Raises ValueError, without the values, for what it would not send."""
    if not metadata:
        return ()
    pairs = tuple(metadata.items() if isinstance(metadata, Mapping) else ((key, value) for key, value in metadata))
    for key, value in pairs:
        if not (isinstance(key, str) and _METADATA_KEY.fullmatch(key)) or key.startswith("grpc-"):
            raise ValueError(f"metadata keys are lower-case and do not start with 'grpc-', unlike {key!r}")
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"metadata {key!r} must be bytes, as each key that ends in -bin")
        elif not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise ValueError(f"metadata {key!r} must be printable ASCII")
    return pairs


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def in_force() -> Settings:
    """The settings of `init`; without one, those of the environment, read at the first use."""
    if not _in_force:
        _in_force.append(Settings.resolve())
    return _in_force[0]


def put_in_force(settings: Settings | None) -> None:
    """Use these settings where no client is given; with None, read the environment again at the next use."""
    _in_force[:] = [] if settings is None else [settings]


_in_force: list[Settings] = []
