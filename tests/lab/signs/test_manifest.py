from pathlib import Path

import pytest

from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.manifest import FILE_NAME, Manifest
from latentwatch.lab.signs.training import TrainingSettings


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    manifest = Manifest(TrainingSettings(seed=3, images=500, epochs=1), accuracy=0.875)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"settings": {"colour": 1}}'])
def test_a_folder_without_a_prepared_network_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(NetworkError, match="run the prepare command"):
        Manifest.read(tmp_path)
