"""Warnings are rate limited by kind."""

import pytest

from latentwatch.producers._throttle import ThrottledLog


def test_a_kind_is_logged_once_in_its_interval(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(interval=3600.0)
    for number in range(5):
        log.warning("full", f"full {number}")
    log.warning("other", "other")

    assert [record.message for record in caplog.records] == ["full 0", "other"]


def test_what_was_held_back_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("latentwatch.producers._throttle.time.monotonic", lambda: now)
    log = ThrottledLog(interval=30.0)
    for now in (0.0, 10.0, 29.0, 30.0, 61.0):
        log.warning("full", f"at {now:.0f}")

    assert [record.message for record in caplog.records] == [
        "at 0",
        "at 30 (2 more like this before)",
        "at 61",
    ]
