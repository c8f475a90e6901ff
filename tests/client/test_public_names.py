"""The public surface, name by name, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import plaudit

NAMES = [
    "AbortedError",
    "Agreement",
    "AlreadyExistsError",
    "AsyncBufferedWriter",
    "AsyncClient",
    "AsyncFeedbackQuery",
    "AsyncFeedbackStream",
    "AsyncGroups",
    "AsyncRefFeedbackQuery",
    "AsyncTransport",
    "AsyncWatch",
    "BatchResult",
    "Boolean",
    "Breakage",
    "BufferedWriter",
    "Caller",
    "Categories",
    "Category",
    "Change",
    "Check",
    "CheckResult",
    "Client",
    "ClientClosedError",
    "DeadlineExceededError",
    "DefinedType",
    "Definition",
    "Definitions",
    "Expr",
    "Feedback",
    "FeedbackQuery",
    "FeedbackRecord",
    "FeedbackStream",
    "Feedbacks",
    "Grant",
    "Groups",
    "History",
    "Ingested",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRefError",
    "JsonSchema",
    "NotFoundError",
    "NotStoredError",
    "Numeric",
    "PermissionDeniedError",
    "PlauditError",
    "Project",
    "Query",
    "QueryLike",
    "Ranking",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "Refused",
    "Report",
    "ResourceExhaustedError",
    "Retained",
    "RetentionCheck",
    "RetentionDue",
    "RetentionRule",
    "RetentionRules",
    "RetryPolicy",
    "ServerInfo",
    "Spans",
    "StoreChangedError",
    "Text",
    "Tombstone",
    "Transport",
    "UnauthenticatedError",
    "UnavailableError",
    "Violation",
    "Watch",
    "field",
    "init",
    "parse_ref",
]

TESTING = [
    "AsyncFakeTransport",
    "FakeTransport",
    "plaudit_async_client",
    "plaudit_client",
    "plaudit_environment",
    "plaudit_project",
    "plaudit_server",
    "reset",
]
WEAVE = [
    "AGENT_USER_FEEDBACK_TYPE",
    "AgentConversationRef",
    "AgentSpanRef",
    "AgentTurnRef",
    "Call",
    "CallRef",
    "ExternalRef",
    "Feedback",
    "FeedbackQuery",
    "Feedbacks",
    "NOTE_FEEDBACK_TYPE",
    "ObjectRef",
    "OpRef",
    "REACTION_FEEDBACK_TYPE",
    "RUNNABLE_FEEDBACK_TYPE_PREFIX",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "TableRef",
    "WeaveClient",
    "get_client",
    "init",
]


@pytest.mark.parametrize(("module", "names"), [("plaudit.testing", TESTING), ("plaudit.compat.weave", WEAVE)])
def test_names_of_the_other_public_modules(module: str, names: list[str]) -> None:
    loaded = import_module(module)

    assert sorted(loaded.__all__) == names
    assert [name for name in names if not hasattr(loaded, name)] == []


def test_public_names_are_these() -> None:
    assert sorted(plaudit.__all__) == NAMES
    assert set(NAMES) <= set(dir(plaudit))
    assert sorted(plaudit._HOMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(plaudit, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'AsyncThing'"):
        plaudit.AsyncThing  # type: ignore[attr-defined]  # noqa: B018


def test_tree_of_exceptions() -> None:
    errors = [value for name in NAMES if name.endswith("Error") and name != "InvalidRefError"
              for value in [getattr(plaudit, name)]]  # fmt: skip

    assert len(errors) == 14
    assert all(issubclass(error, plaudit.PlauditError) for error in errors)
    assert issubclass(plaudit.InvalidRefError, ValueError)


def test_import_loads_the_standard_library_alone() -> None:
    code = "import sys; before = set(sys.modules); import plaudit; print(*(set(sys.modules) - before))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"plaudit"}


def test_wire_loads_nothing_of_the_client() -> None:
    code = "import sys, plaudit.v1; print([m for m in sys.modules if m.startswith('plaudit._') or m == 'rich'])"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("module", "name"),
    [("limits", "REF_BYTES"), ("jsontext", "decode"), ("uuid7", "uuid7")],
)
def test_a_module_that_became_private_still_serves_and_warns(module: str, name: str) -> None:
    sys.modules.pop(f"plaudit.{module}", None)
    with pytest.warns(DeprecationWarning, match=f"plaudit.{module} is private now"):
        former = import_module(f"plaudit.{module}")

    assert getattr(former, name) is getattr(import_module(f"plaudit._contract.{module}"), name)


def test_the_former_names_of_refs_still_serve_and_warn() -> None:
    from plaudit import refs

    assert sorted(refs.__all__) == [
        "argilla", "braintrust", "label_studio", "langfuse", "langsmith", "mlflow", "opik", "phoenix",
    ]  # fmt: skip
    with pytest.warns(DeprecationWarning, match="plaudit.refs.parse_ref is private now"):
        former = refs.parse_ref
    assert former is plaudit.parse_ref
    with pytest.raises(AttributeError, match="nothing"):
        _ = refs.nothing
