"""The order in which a call is let in, authenticated, allowed, charged and audited: one visible list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.config import Config
from plaudit_server.rpc.access import Authentication, Permission, TokenAuthentication, VerifyToken
from plaudit_server.rpc.admission import Admission
from plaudit_server.rpc.audit import audit
from plaudit_server.rpc.chain import Gate, Observer, Step
from plaudit_server.rpc.quotas import Accounting


class Security(NamedTuple):
    """What a server runs before the bytes of a call are parsed, before its method, and at its end."""

    admission: Admission
    gates: Sequence[Gate]
    steps: Sequence[Step]
    observers: Sequence[Observer]
    recheck: Gate | None
    """What a long stream of answers is asked again while it runs."""


def security(config: Config, authenticator: Authenticator, verify: VerifyToken | None = None) -> Security:
    """The steps that a configuration asks for, in their order; a part that is off costs a call nothing.

    `verify` checks feedback tokens, which are asked for even where everybody else is anonymous.
    """
    admission = Admission(config.limits)
    gates: list[Gate] = [admission.enter]
    steps: list[Step] = []
    accounting = Accounting(config.limits)
    observers: list[Observer] = [admission.leave, accounting.settle]
    if verify is not None:
        gates.append(TokenAuthentication(verify).check)
    recheck: Gate | None = None
    if config.authenticated:
        recheck = Authentication(authenticator).check
        gates.append(recheck)
        steps.append(Permission())
    gates.append(admission.own)
    steps.append(accounting)
    if config.is_audited:
        observers.append(audit)
    return Security(admission, gates, steps, observers, recheck)
