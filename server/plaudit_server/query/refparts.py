"""Parts of a stored ref, cut out of its text; the grammar of refs was checked when the ref was stored."""

from __future__ import annotations

from typing import Final, Literal

RefPartName = Literal["kind", "project", "name", "digest", "id", "base"]

_PREFIX: Final = "weave:///"


def ref_part(uri: str, part: RefPartName) -> str | None:
    """A part of a ref; None where its kind does not have it."""
    if not uri.startswith(_PREFIX):
        return {"kind": "external", "base": uri}.get(part)
    entity, project, kind, head = uri[len(_PREFIX) :].split("/", 4)[:4]
    is_named = kind in ("object", "op")
    match part:
        case "kind":
            return kind
        case "project":
            return f"{entity}/{project}"
        case "base":
            return f"{_PREFIX}{entity}/{project}/{kind}/{head}"
        case "name":
            return head.partition(":")[0] if is_named else None
        case "digest":
            return (head.partition(":")[2] or "latest") if is_named else head if kind == "table" else None
        case "id":
            return None if is_named or kind == "table" else head
