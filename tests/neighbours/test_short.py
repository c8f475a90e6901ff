"""Three attacks beside a well-behaved caller of another project, briefly: the campaign's short form."""

from __future__ import annotations

import pytest

from tests.neighbours import budget, catalogue
from tests.neighbours.campaign import Rounds, Sinks, measure
from tests.neighbours.stores import Originals

ROUNDS = Rounds(least=1, most=4, seconds=0.4)


@pytest.mark.timeout(300)
def test_others_keep_their_pace(originals: Originals, sinks: Sinks) -> None:
    with originals.copy(catalogue.SHORT[0].engine) as store:
        found = measure(catalogue.SHORT, store, sinks, ROUNDS, budget.SHORT, best=True)
    assert {figures.case.attack.name: figures.broken for figures in found if figures.broken} == {}
