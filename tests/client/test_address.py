"""Which targets are taken, and what is said of one to which no connection can ever be opened: never a secret."""

from __future__ import annotations

from typing import Any

import pytest

import plaudit
from plaudit._wire.address import Address
from plaudit._wire.proxy import proxy_for

TAKEN = [
    ("localhost:50051", "localhost:50051", False),
    ("127.0.0.1:1", "127.0.0.1:1", False),
    ("[::1]:65535", "[::1]:65535", False),
    ("feedback_1.acme.internal:50051", "feedback_1.acme.internal:50051", False),
    ("http://host:1", "host:1", False),
    ("grpc://host:1/", "host:1", False),
    ("https://host:8443", "host:8443", True),
    ("https://host", "host:443", True),
    ("grpcs://[::1]:9", "[::1]:9", True),
    ("unix:/run/x.sock", "unix:/run/x.sock", False),
    ("unix:x.sock", "unix:x.sock", False),
    ("unix:///run/x.sock", "unix:///run/x.sock", False),
    ("dns:///host:1", "dns:///host:1", False),
    ("dns://8.8.8.8/host:1", "dns://8.8.8.8/host:1", False),
    ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1", False),
]

# What is wrong, and what the message must have in it.
REFUSED = [
    ("", "write host:port"),
    (" ", "write host:port"),
    ("localhost", "write localhost:50051"),
    ("localhost:", "write localhost:50051"),
    ("localhost:abc", "1 to 65535"),
    ("localhost:0", "1 to 65535"),
    ("localhost:65536", "1 to 65535"),
    ("localhost:99999", "1 to 65535"),
    ("localhost:99999999999999999999", "1 to 65535"),
    ("localhost:-1", "1 to 65535"),
    ("localhost:٥٠", "1 to 65535"),
    ("localhost:50990/x", "write localhost:50990"),
    ("localhost:50990/", "write localhost:50990"),
    ("localhost:50990?x=1", "write localhost:50990"),
    ("tcp://localhost:50990", "scheme 'tcp' is not known"),
    ("ftp://localhost:50990", "write host:port"),
    (" localhost:50990", "blanks"),
    ("localhost:50990\n", "blanks"),
    ("local host:50990", "blanks"),
    ("::1:50051", "brackets"),
    ("[::1]", "no port"),
    (":50051", "write host:50051"),
    ("https://", "write https://host:50051"),
    ("https://host/path", "write https://host:50051"),
    ("https://host:70000", "1 to 65535"),
    ("http://host", "write http://host:50051"),
    ("http://host?x=1", "write http://host:50051"),
    ("unix:", "needs a path"),
    ("unix://run/x.sock", "absolute"),
    ("dns:///host", "no port"),
    ("ipv4:10.0.0.1:1,10.0.0.2", "no port"),
]

SECRETS = [
    "user:hunter2@localhost:50990",
    "https://user:hunter2@localhost:50990",
    "https://hunter2@host",
    "user:hunt@hunter2@host:1",
    "user:a/hunter2@host:1",
    "https://host:1/x?token=hunter2",
    "https://host:1#hunter2",
    "tcp://user:hunter2@host:1",
    "host:1/hunter2",
]


@pytest.mark.parametrize(("text", "target", "secure"), TAKEN)
def test_address(text: str, target: str, secure: bool) -> None:
    assert Address.parse(text) == Address(target, secure)
    assert plaudit.Client(target=text).target == text


@pytest.mark.parametrize(("text", "advice"), REFUSED)
@pytest.mark.parametrize("client", [plaudit.Client, plaudit.AsyncClient])
def test_a_target_that_can_never_work_is_refused_at_once(client: Any, text: str, advice: str) -> None:
    with pytest.raises(ValueError, match="write") as raised:
        client(target=text)
    assert advice in str(raised.value)


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="write") as raised:
        plaudit.Client(target=text)
    assert "hunter2" not in str(raised.value)


def test_a_target_of_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAUDIT_TARGET", "tcp://localhost:1")
    with pytest.raises(ValueError, match="scheme"):
        plaudit.Client()


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("localhost:1", True),
        ("LOCALHOST.:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("https://localhost:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("unix:/run/x", True),
        ("10.0.0.1:1", False),
        ("localhost.acme.dev:1", False),
        ("dns:///acme.dev:1", False),
    ],
)
def test_what_is_on_this_machine(text: str, local: bool) -> None:
    assert Address.parse(text).is_local is local


def test_the_proxy_of_the_environment() -> None:
    environment = {"https_proxy": "http://user:hunter2@proxy.acme.dev:3128/", "no_proxy": "internal, 10.0.0.0/8,.dev"}

    def proxy(text: str) -> str:
        return proxy_for(Address.parse(text), environment)

    assert proxy("acme.com:1").startswith("the proxy proxy.acme.dev:3128 (of https_proxy")
    assert "hunter2" not in proxy("acme.com:1")
    assert proxy("10.1.2.3:1") == proxy("x.internal:1") == proxy("acme.dev:1") == proxy("localhost:1") == ""
    assert proxy_for(Address.parse("acme.com:1"), {}) == ""
