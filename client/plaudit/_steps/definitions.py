"""What the operations about definitions ask the server, and make of the answers; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plaudit import v1
from plaudit._core.definitions import CheckResult, Definition, undefined_payload
from plaudit._core.errors import AbortedError, InvalidArgumentError, breaks_stored
from plaudit._core.expr import QueryLike
from plaudit._core.question import query_message
from plaudit._core.records import to_message
from plaudit._steps.step import Call, Steps, all_pages
from plaudit._wire.methods import CHECK_DEFINITION, CREATE, LIST_DEFINITIONS, PUT_DEFINITION

Known = Mapping[str, Definition]
"""The newest definitions of a project, by type."""

# Each check leaves fewer records to look at in the put; a project that is written to faster than that is not caught.
_ROUNDS: Final = 5


def listed(project: str, feedback_type: str = "", all_versions: bool = False) -> Steps[list[Definition]]:
    """The definitions of a project, or of one type."""
    request = v1.ListDefinitionsRequest(project=project, feedback_type=feedback_type, all_versions=all_versions)
    pages = yield from all_pages(LIST_DEFINITIONS, request)
    return [Definition.from_proto(definition) for page in pages for definition in page.definitions]


def known(project: str) -> Steps[Known]:
    """The newest definitions of a project."""
    found = yield from listed(project)
    return {definition.feedback_type: definition for definition in found}


def defined(
    project: str, definition: Definition, expected_version: int | None, found: CheckResult | None
) -> Steps[Definition]:
    """Make a definition, or its next version.

    After a check it is refused when a stored record breaks it: one that was found, or one that was stored meanwhile.
    """
    checked_revision = None if found is None else found.revision
    if found is not None and found.breaking:
        raise breaks_stored(project, definition.feedback_type, found.breaking, found.examples)
    for remaining in reversed(range(_ROUNDS)):
        request = v1.PutDefinitionRequest(
            project=project,
            definition=definition.to_proto(),
            expected_version=expected_version,
            checked_revision=checked_revision,
        )
        try:
            response = yield from Call(PUT_DEFINITION, request)
        except AbortedError as error:
            if checked_revision is None or "checked_revision" not in error.metadata or not remaining:
                raise
            again = yield from checked(project, definition, None)
            if again.breaking:
                raise breaks_stored(project, definition.feedback_type, again.breaking, again.examples) from error
            checked_revision = again.revision
        else:
            return Definition.from_proto(response.definition)
    raise AssertionError("the last round returns or raises")


def checked(project: str, definition: Definition, query: QueryLike | None) -> Steps[CheckResult]:
    """Try a definition on what is stored."""
    request = v1.CheckDefinitionRequest(project=project, definition=definition.to_proto())
    asked = query_message(query)
    if asked is not None:
        request.query.CopyFrom(asked)
    return CheckResult.of((yield from all_pages(CHECK_DEFINITION, request)))


def rated(
    cache: dict[str, Known], project: str, record: Mapping[str, Any], feedback_type: str, value: Any, reason: str | None
) -> Steps[str]:
    """Store a value where the definition of its type says; read the definitions again when they have changed.

    The server alone decides: what is known here only says where the value belongs.
    """
    if project not in cache:
        cache[project] = yield from known(project)
    for last in (False, True):
        definition = cache[project].get(feedback_type) or cache[project].get("*")
        payload = undefined_payload(value, reason) if definition is None else definition.payload(value, reason)
        spec = definition.annotation_ref if definition is not None else None
        message = v1.CreateFeedbackRequest(project=project, feedback=_message(record, feedback_type, payload, spec))
        try:
            response = yield from Call(CREATE, message)
        except InvalidArgumentError as error:
            version = error.metadata.get("definition_version")
            if last or version is None or (definition is not None and version == str(definition.version)):
                raise
            cache[project] = yield from known(project)
        else:
            return response.feedback.id
    raise AssertionError("the second try returns or raises")


def _message(record: Mapping[str, Any], feedback_type: str, payload: dict[str, Any], spec: str | None) -> v1.Feedback:
    fields = {**record, "feedback_type": feedback_type, "payload": payload}
    return to_message(fields if spec is None else {**fields, "annotation_ref": spec})
