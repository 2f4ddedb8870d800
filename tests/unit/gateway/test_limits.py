"""Who counts as one caller, and when a count begins anew."""

import pytest

from oltp.gateway import limits
from oltp.gateway.limits import Windows


@pytest.mark.parametrize(
    ("host", "network", "is_loopback"),
    [
        ("203.0.113.7", "203.0.113.7", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::/64", True),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64", False),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64", False),
        ("testclient", "testclient", False),
    ],
)
def test_an_ipv6_customer_has_a_whole_network(host: str, network: str, is_loopback: bool) -> None:
    assert limits._network(host) == (network, is_loopback)


def test_counts_begin_anew_with_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 600.0
    monkeypatch.setattr(limits.time, "time", lambda: now)
    windows = Windows(redis=None)  # type: ignore[arg-type]
    assert [windows.hit("user:a") for _ in range(3)] == [1, 2, 3]
    assert windows.hit("user:b") == 1
    assert limits.seconds_left() == 60
    now = 659.9
    assert windows.hit("user:a") == 4
    assert limits.seconds_left() == 1
    now = 660.0
    assert windows.hit("user:a") == 1
