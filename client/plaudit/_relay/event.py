"""A change as what is delivered: its id, which is the same each time, and its JSON in the forms that receivers know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from plaudit._core.changes import Change
from plaudit._core.lines import change_line, line_of, retained_json, tombstone_json

FORMS: Final = ("webhook", "cloudevents")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a project, to be delivered."""

    store_id: str
    project: str
    change: Change

    @property
    def id(self) -> str:
        """The same for each delivery of this change, and for no other change: receivers find repeats by it."""
        return f"{self.store_id}.{self.project}.{self.change.revision}"

    @property
    def type(self) -> str:
        """What happened: `feedback.created`, `feedback.replaced`, `feedback.purged` or `feedback.retained`."""
        return f"feedback.{self.change.kind}"

    @property
    def ref(self) -> str:
        """What the feedback is about; changes of one ref are delivered in order."""
        subject = self.change.feedback or self.change.tombstone
        return "" if subject is None else str(subject.ref)

    @property
    def time(self) -> datetime:
        """When it happened."""
        if self.change.feedback is not None:
            return self.change.feedback.updated_at
        if self.change.retained is not None:
            return self.change.retained.removed_at
        assert self.change.tombstone is not None
        return self.change.tombstone.purged_at

    @property
    def line(self) -> str:
        """The change as `plaudit watch -o jsonl` prints it."""
        return change_line(self.change)

    def body(self, form: str) -> bytes:
        """The JSON that is sent, in UTF-8, in one of FORMS."""
        return (_cloud_event(self) if form == "cloudevents" else _webhook(self)).encode()


def _webhook(event: Event) -> str:
    head = {"type": event.type, "timestamp": _text(event.time)}
    return json.dumps(head)[:-1] + f', "data": {_data(event)}}}'


def _cloud_event(event: Event) -> str:
    head: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"plaudit:{event.store_id}/{event.project}",
        "type": f"dev.plaudit.{event.type}",
        "subject": event.change.id,
        "time": _text(event.time),
        "datacontenttype": "application/json",
    }
    return json.dumps(head, ensure_ascii=False)[:-1] + f', "data": {_data(event)}}}'


def _data(event: Event) -> str:
    change = event.change
    head = {"revision": change.revision, "project": event.project, "id": change.id}
    if change.feedback is not None:
        what = f'"record": {line_of(change.feedback._message)}'
    elif change.retained is not None:
        what = f'"retained": {retained_json(change.retained)}'
    else:
        assert change.tombstone is not None
        what = f'"tombstone": {tombstone_json(change.tombstone)}'
    return f"{json.dumps(head, ensure_ascii=False)[:-1]}, {what}}}"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
