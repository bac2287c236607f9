"""What people read when the dashboard has to stop."""

import sqlite3
from pathlib import Path

from latentwatch.stream.dashboard.options import DashboardError
from latentwatch.stream.dashboard.run import explained


def test_a_history_that_cannot_be_written_says_what_to_do() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    inner = ExceptionGroup("parts", [full])
    found = explained(ExceptionGroup("all", [inner]), Path("history.sqlite"))
    assert isinstance(found, DashboardError)
    assert "history.sqlite cannot be written (database or disk is full): check that" in str(found)


def test_a_bug_is_not_hidden() -> None:
    errors = ExceptionGroup("all", [ZeroDivisionError()])
    assert explained(errors, Path("history.sqlite")) is errors
