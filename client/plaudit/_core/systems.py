"""Refs of what other systems keep: the same that imports of their feedback have; pure, nothing is asked or checked."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

DEFAULT: Final = "default"
"""The installation of a system that is given no name, as in `plaudit import` without --instance."""


def system_ref(system: str, instance: str, project: str, *target: str) -> str:
    """The ref of something in a system: `langfuse://host/project/trace/1f2e`; each part is percent-encoded."""
    parts = [instance, *([project] if project else []), *target]
    return f"{system}://" + "/".join(quote(part, safe="") for part in parts)


def langfuse(
    instance: str = DEFAULT,
    project: str = "",
    *,
    trace: str | None = None,
    observation: str | None = None,
    session: str | None = None,
    dataset_run: str | None = None,
) -> str:
    """The ref of a trace of Langfuse, or of an observation in it; of a session; of a run of a dataset.

    `project` is the project's id. Raises ValueError for no target, and for more than one.
    """
    return _ref(
        "langfuse",
        instance,
        project,
        _nested(trace=trace, observation=observation),
        _nested(session=session),
        _nested(**{"dataset-run": dataset_run}),
    )


def langsmith(instance: str = DEFAULT, project: str = "", *, run: str | None = None) -> str:
    """The ref of a run of LangSmith, or of a project; `project` is its id, which is called session_id there."""
    if run is None:
        return _ref("langsmith", instance, "", _nested(project=project or None))
    return _ref("langsmith", instance, project, _nested(run=run))


def phoenix(
    instance: str = DEFAULT,
    project: str = "",
    *,
    span: str | None = None,
    document: int | None = None,
    trace: str | None = None,
    session: str | None = None,
) -> str:
    """The ref of a span of Phoenix, or of a document in it by its position; of a trace; of a session.

    `project` is what was given to `plaudit import` as --source-project, as exports do not have it. Raises ValueError
    for no target, and for more than one.
    """
    place = None if document is None else str(document)
    return _ref(
        "phoenix", instance, project, _nested(span=span, document=place), _nested(trace=trace), _nested(session=session)
    )


def mlflow(instance: str = DEFAULT, experiment: str = "", *, trace: str, span: str | None = None) -> str:
    """The ref of a trace of MLflow, or of a span in it; `experiment` is the experiment's id."""
    return _ref("mlflow", instance, experiment, _nested(trace=trace, span=span))


def opik(instance: str = DEFAULT, project: str = "", *, trace: str, span: str | None = None) -> str:
    """The ref of a trace of Opik, or of a span in it; `project` is the project's id."""
    return _ref("opik", instance, project, _nested(trace=trace, span=span))


def argilla(instance: str = DEFAULT, dataset: str = "", *, record: str) -> str:
    """The ref of a record of Argilla; `dataset` is --source-project of the import, or else its file's name."""
    return _ref("argilla", instance, dataset, _nested(record=record))


def label_studio(instance: str = DEFAULT, project: str = "", *, task: str) -> str:
    """The ref of a task of Label Studio; `project` is the project's id."""
    return _ref("label-studio", instance, project, _nested(task=task))


def braintrust(instance: str = DEFAULT, project: str = "", *, row: str) -> str:
    """The ref of a row of Braintrust; `project` is the id of the project, or of the experiment."""
    return _ref("braintrust", instance, project, _nested(row=row))


def _nested(**kinds: str | None) -> list[str]:
    """Kinds and ids from the outer to the inner one; those that are None are left out."""
    return [part for kind, id in kinds.items() if id is not None for part in (kind, id)]


def _ref(system: str, instance: str, project: str, *targets: list[str]) -> str:
    given = [target for target in targets if target]
    if len(given) != 1 or not all(given[0]):
        raise ValueError(f"a ref of {system} is of one target, which has an id")
    return system_ref(system, instance, project, *given[0])
