"""From `publish()` to the record of an alert through few files."""

from latentwatch.lab.walk import walk

MOST_FILES = 36
"""As many as there are today; the aim is 20. Lower it with every file that goes."""


def test_a_batch_passes_few_files_on_its_way_to_an_alert() -> None:
    files = walk()
    assert files[0] == "producers/_intake.py"
    assert "stream/core/lane.py" in files
    assert "stream/core/events.py" in files
    assert len(files) <= MOST_FILES, files
