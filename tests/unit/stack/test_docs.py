"""The documentation's server lists what has been written, and serves it."""

from pathlib import Path

import httpx

from stack.docs import FOLDER, create_app


def _client(home: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(home)), base_url="http://docs")


async def test_it_lists_and_serves_what_has_been_written(tmp_path: Path) -> None:
    client = _client(tmp_path)
    assert "surge dbt docs" in (await client.get("/")).text

    (tmp_path / FOLDER / "dbt").mkdir(parents=True)
    (tmp_path / "secrets.env").write_text("secret")
    (tmp_path / FOLDER / "dbt" / "index.html").write_text("<p>lineage</p>")

    assert 'href="dbt/"' in (await client.get("/")).text
    assert (await client.get("/dbt/")).text == "<p>lineage</p>"
    assert (await client.get("/%2e%2e/secrets.env")).status_code == 404


async def test_it_is_ready_before_anything_has_been_written(tmp_path: Path) -> None:
    assert (await _client(tmp_path).get("/readyz")).status_code == 200
