"""The types of feedback that the client itself writes, or shows in a way of their own."""

from __future__ import annotations

from typing import Final

REACTION: Final = "wandb.reaction.1"
NOTE: Final = "wandb.note.1"
AGENT_USER_FEEDBACK: Final = "wandb.agent_user_feedback"
RESERVED_PREFIX: Final = "wandb."
ANNOTATION_PREFIX: Final = "wandb.annotation."
