"""Pictures for the demo's dashboard, written as requests are played."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from latentwatch.lab.demo.dashboard import InputFiles
from latentwatch.stream.investigate.pictures import InputPictures


def line(name: str, *, adversarial: bool) -> bytes:
    row: dict[str, Any] = {"request_id": name, "adversarial": adversarial}
    return orjson.dumps({**row, "input_ref": f"signs:7/{name}"}) + b"\n"


def test_attacked_signs_are_found_by_their_references_as_they_are_sent(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    truth.write_bytes(line("old", adversarial=True))
    files = InputFiles(tmp_path)
    files.write_new()  # the player has not begun
    pictures = np.arange(2 * 12, dtype=np.uint8).reshape(2, 2, 2, 3)
    np.savez(tmp_path / "examples.npz", request_id=np.array(["one", "two"]), adversarial=pictures)
    whole, half = line("one", adversarial=True), line("two", adversarial=True)
    truth.write_bytes(line("calm", adversarial=False) + whole + half[:9])
    files.write_new()
    inputs = InputPictures(tmp_path / "inputs")

    def shown() -> list[str]:
        return [n for n in ("old", "calm", "one", "two") if inputs.open(f"signs:7/{n}")]

    assert shown() == ["one"]
    with truth.open("ab") as file:
        file.write(half[9:])
    files.write_new()
    assert shown() == ["one", "two"]
