"""`surge dbt` writes only into the instance's home, and needs a warehouse."""

from pathlib import Path

import pytest

from stack import dbt
from stack.errors import StackError
from stack.instance import Instance


def test_everything_that_dbt_writes_lies_in_the_instances_home(tmp_path: Path) -> None:
    instance = Instance(name="x", home=tmp_path, port_base=40_000)
    given = dbt.variables(instance)
    assert Path(given["DBT_PROFILES_DIR"], "profiles.yml").exists()
    assert all(Path(given[name]).is_relative_to(tmp_path) for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"))


def test_without_a_warehouse_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SURGE_WAREHOUSE_PORT", raising=False)
    with pytest.raises(StackError, match="no warehouse"):
        dbt.run(["parse"], Instance(name="x", home=tmp_path, port_base=40_000))
