"""plaudit in one file: a server on a temporary store, feedback from two creators, and what can be read from it.

Run it with `make demo`. Against a server of your own the same calls work; `Client(target=...)` names it.
"""

from __future__ import annotations

from statistics import mean

import plaudit
from plaudit_server.testing import server

ANSWERS = {
    "weave:///acme/chat/call/0192-capital": ("👍", "Right, and short.", 0.9),
    "weave:///acme/chat/call/0192-recipe": ("❤️", "I would cook this.", 0.7),
    "weave:///acme/chat/call/0192-lawyer": ("👎", "Made up the paragraph it quotes.", 0.1),
}


def give(client: plaudit.Client) -> None:
    """Ana reacts to each answer and says why; a judge scores each."""
    for uri, (emoji, note, score) in ANSWERS.items():
        answer = client.ref(uri)
        answer.add_reaction(emoji, creator="ana")
        answer.add_note(note, creator="ana")
        answer.add("correctness", {"score": score}, creator="judge-2")


def show(client: plaudit.Client) -> None:
    """Print everything, then the answers to three questions."""
    everything = client.get_feedback()
    for feedback in everything:
        said = feedback.payload.get("emoji") or feedback.payload.get("note") or feedback.payload["score"]
        print(f"{feedback.ref:38}  {feedback.feedback_type:17}  {feedback.creator:8}  {said}")

    judged = client.get_feedback(plaudit.field("feedback_type") == "correctness")
    print(f"\nThe judge's mean score: {mean(feedback.payload['score'] for feedback in judged):.2f}")
    bad = client.get_feedback(plaudit.field("payload.score") < 0.5)
    print("To look at first:", *bad.refs())
    print("Liked:", *client.get_feedback(reaction="👍").refs())


def main() -> None:
    """Start a server, store feedback, and query it."""
    with server() as running:
        print(f"A server for this demo listens on {running.target}.\n")
        client = running.client(project="acme/chat")
        give(client)
        show(client)


if __name__ == "__main__":
    main()
