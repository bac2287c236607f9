"""The alert rules, run by Prometheus' own tool where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[4] / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: it comes with the package prometheus")
@pytest.mark.parametrize("what", [("check", "rules.yml"), ("test", "rules_test.yml")])
def test_the_rules_are_sound_and_fire_as_their_tests_say(what: tuple[str, str]) -> None:
    task, file = what
    ended = subprocess.run(
        [str(PROMTOOL), task, "rules", file], cwd=FOLDER, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
