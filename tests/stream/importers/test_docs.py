"""The examples of docs/import.md are what the commands read and write."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result

from latentwatch.stream.recording import Recording

Run = Callable[..., Result]
PAGE = (Path(__file__).parents[3] / "docs" / "import.md").read_text()
EXAMPLES = [orjson.loads(text) for text in re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)]
COMMANDS = [
    shlex.split(text.replace("\\\n", ""))[1:]
    for text in re.findall(r"^    (latentwatch (?:.+\\\n)*.+)$", PAGE, re.MULTILINE)
]


def options_of(command: list[str]) -> dict[str, str]:
    """Options of a command with their values; of those that come twice the last."""
    return dict(zip(command[3::2], command[4::2], strict=True))


def test_the_commands_have_the_options_that_are_shown(run: Run, tmp_path: Path) -> None:
    """Each fails on the files that are not there, not on its options."""
    assert [command[:2] for command in COMMANDS] == [
        ["import", "debugger"],
        ["import", "data-capture"],
        ["import", "kserve"],
        ["export", "violations"],
    ]
    for command in COMMANDS:
        missing = str(tmp_path / "missing")
        result = run(*command[:2], missing, *command[3:])
        assert result.exit_code != 0
        assert missing in result.stderr
        assert "No such option" not in result.stderr


@pytest.mark.parametrize("number", [0, 1])
def test_the_events_that_are_shown_are_imported(
    run: Run, names: Any, tmp_path: Path, number: int
) -> None:
    command = COMMANDS[number + 1]
    (tmp_path / "shown.jsonl").write_bytes(orjson.dumps(EXAMPLES[number]))
    options = options_of(command)
    wanted = ("--layer", options["--layer"], "--predicted", options["--predicted"])
    result = run(*command[:2], tmp_path / "shown.jsonl", *names, *wanted)
    assert result.exit_code == 0, result.output
    recording = Recording(str(tmp_path / "out"))
    assert recording.layers() == {"layer4": 2}
    assert recording.array("layer4").round(6).tolist() == [[pytest.approx(0.1), 2.5]]
    assert recording.predicted().tolist() == [1]
