"""Every RPC times every role times own and foreign project, from the service's descriptor: no cell by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from plaudit.v1 import feedback_service_pb2
from plaudit_server.auth.permission import LOWEST_ROLES, OWN_ONLY_BELOW, Decision, Right, allowed, table
from plaudit_server.auth.principals import ANONYMOUS, Principal
from plaudit_server.config.grants import Grant, NamedGrant, Role, check_pattern, matches
from plaudit_server.resources import registry

RPC_RIGHTS = registry().rights
SERVICE = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]
DOCS = Path(__file__).parents[2] / "docs" / "permissions.md"

# What the semantics say about each role, arranged the other way round than the table under test.
RIGHTS = {
    None: set(),
    Role.READER: {Right.READ},
    Role.WRITER: {Right.READ, Right.CREATE, Right.REPLACE, Right.PURGE},
    Role.EDITOR: {Right.READ, Right.CREATE, Right.REPLACE, Right.PURGE},
    Role.ADMINISTRATOR: {Right.READ, Right.CREATE, Right.REPLACE, Right.PURGE, Right.IMPORT},
}
OWN_ONLY = {(Role.WRITER, Right.REPLACE), (Role.WRITER, Right.PURGE)}


def test_every_rpc_of_the_service_has_a_row_and_no_other_has() -> None:
    assert {method.name for method in SERVICE.methods} <= set(RPC_RIGHTS)


# Feedback tokens have these, and no role has.
OF_TOKENS = {Right.SUBMIT, Right.SHOW}


def test_every_right_but_info_has_a_lowest_role() -> None:
    assert set(LOWEST_ROLES) == set(Right) - {Right.INFO, *OF_TOKENS}
    assert all(LOWEST_ROLES[right] < OWN_ONLY_BELOW[right] for right in OWN_ONLY_BELOW)


@pytest.mark.parametrize(
    ("rpc", "role", "own_project"), list(product([m.name for m in SERVICE.methods], [None, *Role], [True, False]))
)
def test_the_matrix(rpc: str, role: Role | None, own_project: bool) -> None:
    grants = () if role is None else (Grant(role, ("acme/*",)),)
    right = RPC_RIGHTS[rpc]
    decision = allowed(Principal("judge", grants), right, "acme/chat" if own_project else "other/chat")
    expected = right is Right.INFO or (own_project and right in RIGHTS[role])
    assert decision == Decision(expected, expected and own_project and (role, right) in OWN_ONLY)


def test_without_authentication_everybody_may_everything_everywhere() -> None:
    everything = set(Right) - OF_TOKENS
    assert all(allowed(ANONYMOUS, right, "any/thing") == Decision(True) for right in everything)
    assert not any(allowed(ANONYMOUS, right, "any/thing").allowed for right in OF_TOKENS)


def test_the_highest_of_several_roles_counts_and_each_only_where_it_was_granted() -> None:
    principal = Principal("p", (Grant(Role.READER, ("*",)), Grant(Role.EDITOR, ("acme/chat", "b/*"))))
    assert principal.role_in("acme/chat") is Role.EDITOR
    assert principal.role_in("acme/other") is Role.READER
    assert allowed(principal, Right.PURGE, "b/x") == Decision(True)
    assert allowed(principal, Right.PURGE, "acme/other") == Decision(False)


@pytest.mark.parametrize(
    ("pattern", "project", "covered"),
    [
        ("acme/*", "acme/chat", True),
        ("acme/*", "acme/", True),
        ("acme/*", "acme2/chat", False),
        ("acme/*", "xacme/chat", False),
        ("acme/*", "acme/chat/deep", False),
        ("acme/*", "acme", False),
        ("acme/*", "", False),
        ("acme/chat", "acme/chat", True),
        ("acme/chat", "acme/chat\n", False),
        ("acme/chat", "ACME/chat", False),
        ("acme/team-*", "acme/team-a", True),
        ("acme/team-*", "acme/other", False),
        ("*/chat", "acme/chat", True),
        ("*/*", "acme/chat", True),
        ("*/*", "a/b/c", False),
        ("*", "a/b", True),
        ("*", "", True),
        ("a.b/c+", "a.b/c+", True),
        ("a.b/c+", "aXb/c+", False),
        ("a/[b]", "a/b", False),
        ("a**b/c", "a-b/c", True),
    ],
)
def test_patterns_cover_whole_names_and_never_cross_the_slash(pattern: str, project: str, covered: bool) -> None:
    assert matches(check_pattern(pattern), project) is covered


@pytest.mark.parametrize("pattern", ["", "acme", "/", "a/", "/b", "a/b/c", "a b/c", "a/b\n", "x" * 260 + "/y"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no project pattern"):
        Grant(Role.READER, (pattern,))


@pytest.mark.parametrize(
    ("name", "principal", "named"),
    [
        ("judge", "judge", True),
        ("judge", "judge2", False),
        ("spiffe://mesh/*", "spiffe://mesh/ns/a/sa/b", True),
        ("spiffe://mesh/*", "spiffe://mesh2/a", False),
        ("*", "anybody", True),
        ("CN=a*,O=Acme", "CN=alice,O=Acme", True),
    ],
)
def test_grants_in_the_configuration_name_principals_by_pattern(name: str, principal: str, named: bool) -> None:
    assert NamedGrant(name, Role.READER, ("*",)).names(principal) is named


def test_a_grant_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="name of its principal"):
        NamedGrant("", Role.READER, ("*",))


@pytest.mark.parametrize("role", list(Role))
def test_roles_have_their_names_in_lower_case(role: Role) -> None:
    assert Role.parse(role.label) is role
    with pytest.raises(ValueError, match="unknown role"):
        Role.parse(role.name)


def test_the_documented_table_is_the_one_in_force() -> None:
    assert table(RPC_RIGHTS) in DOCS.read_text("utf-8")
