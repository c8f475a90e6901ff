"""Thumbs below the answers of a chat: a FastAPI app that keeps them in plaudit, without a thread for any call.

Run it beside `make run`, with `pip install fastapi uvicorn`:

    uvicorn examples.fastapi_thumbs:app
    curl -X PUT localhost:8000/answers/0192/thumb -H 'x-user: ana' -H 'content-type: application/json' -d '{"up": true}'

A thumb is a reaction. `set_reaction` says how it is to be, so that a request which is sent twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel

import plaudit

UP, DOWN = "👍", "👎"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """One client for the whole app; PLAUDIT_TARGET and PLAUDIT_API_KEY say which server, and as whom."""
    async with plaudit.AsyncClient("acme/chat") as client:
        app.state.plaudit = client
        yield


app = FastAPI(lifespan=lifespan)


class Thumb(BaseModel):
    """How a user's thumb is to be: up, down, or (None) not there."""

    up: bool | None
    note: str = ""


class Thumbs(BaseModel):
    """What there is below one answer; `mine` is the thumb of the user who asks."""

    up: int = 0
    down: int = 0
    mine: bool | None = None


def client_of(request: Request) -> plaudit.AsyncClient:
    """The client that `lifespan` has made."""
    client: plaudit.AsyncClient = request.app.state.plaudit
    return client


Client = Annotated[plaudit.AsyncClient, Depends(client_of)]
# Your app knows its users in a better way.
User = Annotated[str, Header(alias="x-user", min_length=1, max_length=64)]


def ref_of(answer: str) -> str:
    """What feedback on an answer is about: any URI of yours will do."""
    return f"https://chat.acme.dev/answers/{answer}"


@app.put("/answers/{answer}/thumb")
async def put_thumb(answer: str, thumb: Thumb, user: User, client: Client) -> Thumbs:
    """Store the note, if there is one, and set the user's thumb."""
    below = client.ref(ref_of(answer))
    try:
        if thumb.note:
            await below.add_note(thumb.note, creator=user)
        await asyncio.gather(
            below.set_reaction(UP, reacted=thumb.up is True, creator=user),
            below.set_reaction(DOWN, reacted=thumb.up is False, creator=user),
        )
    except plaudit.InvalidArgumentError as error:
        raise HTTPException(422, [violation.description for violation in error.violations]) from error
    return await get_thumbs(answer, user, client)


@app.get("/answers/{answer}/thumbs")
async def get_thumbs(answer: str, user: User, client: Client) -> Thumbs:
    """Count the thumbs of an answer, in one call."""
    [found] = await client.summarize_refs([ref_of(answer)], creator=user)
    thumbs = Thumbs()
    for reaction in found.reactions:
        if reaction.emoji == UP:
            thumbs.up = reaction.count
        elif reaction.emoji == DOWN:
            thumbs.down = reaction.count
        if reaction.mine and reaction.emoji in (UP, DOWN):
            thumbs.mine = reaction.emoji == UP
    return thumbs


@app.get("/answers/{answer}/notes")
async def get_notes(answer: str, client: Client) -> list[str]:
    """The notes on an answer, newest first."""
    is_note = (plaudit.field("ref") == ref_of(answer)) & (plaudit.field("feedback_type") == "wandb.note.1")
    notes = client.get_feedback(is_note, order_by="-created_at", limit=20)
    return [str(feedback.payload["note"]) async for feedback in notes]
