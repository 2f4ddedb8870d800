"""The benchmark as an instrument: a short, slow run whose figures must agree with each other."""

import asyncio
import sys
from pathlib import Path

import orjson
import pytest

from stack.bench import vegeta
from stack.errors import StackError
from stack.instance import ROOT


@pytest.mark.timeout(300)
async def test_a_short_run_measures_what_it_sent(tmp_path: Path) -> None:
    try:
        await asyncio.to_thread(vegeta.ensure, print)
    except StackError as error:
        pytest.skip(f"{error}: {error.detail}")
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.png"

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack", "bench", "sustained", "--rate", "20", "--duration", "5", "--no-audit",
        "--json", str(figures), "--png", str(picture),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()

    assert figures.exists(), output
    found = orjson.loads(figures.read_bytes())
    assert found["offered"] in (99, 100, 101), output
    assert found["accepted"] == found["offered"], output
    assert found["lost"] == found["unfinished"] == found["cancelled"] == 0, output
    assert found["completed"] + found["waiting_for_carrier"] == found["accepted"], output
    assert found["placement_p50_ms"] <= found["placement_p99_ms"] <= found["placement_max_ms"]
    assert found["confirmed_p50_ms"] <= found["processing_p50_ms"]
    assert all(found[f"cpu_seconds.{name}"] > 0 for name in ("gateway", "saga", "postgres", "kafka", "redis"))
    assert found["broker_messages"] > found["accepted"]
    assert found["goals.nothing_lost"] is True
    assert found["goals.finished"] is True
    assert process.returncode == (0 if found["passed"] else 1)
    assert picture.read_bytes().startswith(b"\x89PNG")
