"""`surge test` sends each path to the stack that its kind needs."""

import pytest

from stack.errors import StackError
from stack.testing import KINDS, select


def test_kinds_become_folders() -> None:
    assert select(["unit", "integration"]) == ({"unit": ["tests/unit"], "integration": ["tests/integration"]}, [])


def test_a_path_goes_with_its_kind_and_the_rest_to_pytest() -> None:
    path = "tests/unit/stack/test_selection.py"

    assert select([path, "-k", "kinds", "-x"]) == ({"unit": [path]}, ["-k", "kinds", "-x"])


def test_a_single_test_is_a_path_too() -> None:
    node = "tests/unit/stack/test_selection.py::test_kinds_become_folders"

    assert select([node]) == ({"unit": [node]}, [])


def test_an_options_value_is_no_path() -> None:
    chosen, rest = select(["unit", "-k", "tests"])

    assert chosen == {"unit": ["tests/unit"]}
    assert rest == ["-k", "tests"]


def test_nothing_means_everything_there_is() -> None:
    chosen, _ = select([])

    assert "unit" in chosen
    assert set(chosen) <= {kind.name for kind in KINDS}


def test_a_path_elsewhere_is_refused() -> None:
    with pytest.raises(StackError, match="is no test"):
        select(["stack/cli.py"])
