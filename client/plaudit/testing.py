"""For tests of code that uses plaudit: fixtures of pytest, a transport without a server, and `reset`.

    def test_thumb(plaudit_client):
        my_app.thumb_up("https://chat.acme.dev/answers/1")
        assert [feedback.payload["emoji"] for feedback in plaudit_client.get_feedback()] == ["👍"]

pytest finds the fixtures by itself. `plaudit_client` and `plaudit_async_client` reach a real server, `plaudit_server`,
which is empty for each test, and needs `pip install 'plaudit[server]'`. `FakeTransport` needs neither the server nor
pytest.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plaudit._default import reset
    from plaudit._testing.fake import AsyncFakeTransport, FakeTransport

# pytest imports this module at its start, also where no test uses it: gRPC and protobuf come with the first use.
_HOMES: Final = {
    "AsyncFakeTransport": "plaudit._testing.fake",
    "FakeTransport": "plaudit._testing.fake",
    "reset": "plaudit._default",
}

__all__ = ["AsyncFakeTransport", "FakeTransport", "reset"]

if TYPE_CHECKING or find_spec("pytest") is not None:
    from plaudit._testing.fixtures import (
        plaudit_async_client,
        plaudit_client,
        plaudit_environment,
        plaudit_project,
        plaudit_server,
    )

    __all__ += ["plaudit_async_client", "plaudit_client", "plaudit_environment", "plaudit_project", "plaudit_server"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(home), name)
