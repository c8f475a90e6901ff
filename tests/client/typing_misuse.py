"""Calls that must not type-check. mypy reports an unneeded ignore, so `make lint` fails when one passes."""

from __future__ import annotations

import plaudit


def misuse(client: plaudit.Client, feedback: plaudit.Feedback, query: plaudit.FeedbackQuery) -> None:
    plaudit.Cleint  # type: ignore[attr-defined]  # noqa: B018
    plaudit.init(5)  # type: ignore[arg-type]
    plaudit.init("acme/chat", "localhost:1")  # type: ignore[call-arg, arg-type]
    plaudit.Client("acme/chat", "localhost:1")  # type: ignore[call-arg, arg-type]
    plaudit.FeedbackQuery("acme", "chat")  # type: ignore[call-arg]
    plaudit.FeedbackQuery("acme", "chat", "id")  # type: ignore[arg-type]
    plaudit.FeedbackQuery("acme", "chat", None, None, None, False, "created_at")  # type: ignore[call-arg]
    plaudit.RefFeedbackQuery("urn:x", client)  # type: ignore[call-arg]
    plaudit.RefFeedbackQuery("urn:x").add()  # type: ignore[call-arg]
    plaudit.RefFeedbackQuery("urn:x").add("t", [1])  # type: ignore[arg-type]
    plaudit.field(5)  # type: ignore[arg-type]
    _ = plaudit.field("a") > object()  # type: ignore[operator]
    plaudit.field("a") & True  # type: ignore[operator]
    plaudit.Query({"$expr": {}})  # type: ignore[arg-type]
    client.create_batch(5)  # type: ignore[call-overload]
    client.create([("ref", "urn:x")])  # type: ignore[arg-type]
    client.get_feedback(5)  # type: ignore[arg-type]
    client.purge(5)  # type: ignore[arg-type]
    client.replace_everything()  # type: ignore[attr-defined]
    client.replace([])  # type: ignore[arg-type]
    client.ingest([feedback])  # type: ignore[list-item]
    client.watch(after="5")  # type: ignore[arg-type]
    client.buffered("spool")  # type: ignore[call-arg]
    next(client.watch()).feedback.id  # type: ignore[union-attr]  # noqa: B018
    feedback.unknown  # type: ignore[attr-defined]  # noqa: B018
    feedback.creator.upper()  # type: ignore[union-attr]
    feedback.creator = "Jane"  # type: ignore[misc]
    query["first"]  # type: ignore[call-overload]
    client.create_batch([])[0].created_at  # noqa: B018
    client.create_batch([], partial=True)[0].created_at  # type: ignore[union-attr]  # noqa: B018
