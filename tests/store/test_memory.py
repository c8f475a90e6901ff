"""The model store: the suite of every store."""

from __future__ import annotations

import pytest

from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store.engines.memory import MemoryEngine
from tests.store import suite


@pytest.mark.parametrize("case", suite.CASES, ids=suite.name_of)
def test_behaves_as_a_store(case: suite.Case) -> None:
    suite.run(case, lambda clock: MemoryEngine(FeedbackModel(clock)))
