"""The architecture page shows the saga as it is."""

import pytest

from sagas.diagram import PAGE, mermaid, renewed
from sagas.order import SAGA


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page, "run `python -m sagas.diagram`"


def test_every_state_and_rule_is_drawn() -> None:
    text = mermaid(SAGA)
    rules = sum(len(state.on) for state in SAGA.states.values())
    assert text.count(" --> ") == 1 + rules + 2, "one start, every rule, two ends"


def test_a_page_without_the_part_is_refused() -> None:
    with pytest.raises(ValueError, match="has no part"):
        renewed("# Architecture")
