"""Pictures behind references that one may not trust."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from latentwatch.stream.investigate.pictures import (
    MOST_BYTES,
    MOST_PICTURES,
    InputPictures,
    media_type,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = tmp_path / "inputs"
    (inputs / "day").mkdir(parents=True)
    (inputs / "day" / "a b.png").write_bytes(PNG)
    (inputs / "note.txt").write_text("no picture")
    (inputs / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (inputs / "huge.png").write_bytes(PNG + bytes(MOST_BYTES))
    (tmp_path / "secret.png").write_bytes(PNG)
    (inputs / "link.png").symlink_to(tmp_path / "secret.png")
    return inputs


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def one(pictures: InputPictures, reference: str) -> str | None:
    (found,) = pictures.read([reference])
    return found


def test_pictures_below_the_folder_are_read_by_any_form_of_their_path(folder: Path) -> None:
    pictures = InputPictures(folder)
    place = folder / "day" / "a b.png"
    for reference in ("day/a b.png", str(place), place.as_uri()):
        assert (one(pictures, reference) or "").startswith("data:image/png;base64,iVBOR")


def test_references_of_a_services_own_kind_are_paths_below_the_folder(folder: Path) -> None:
    (folder / "signs:7").mkdir()
    (folder / "signs:7" / "12").write_bytes(PNG)
    pictures = InputPictures(folder, fetch=True)
    assert pictures.open("signs:7/12") == ("image/png", PNG)
    assert pictures.open("signs:7/../../../secret.png") is None
    assert InputPictures(fetch=True).open("signs:7/12") is None


@pytest.mark.parametrize(
    "reference", ["../secret.png", "link.png", "day/../../secret.png", "{above}/secret.png"]
)
def test_no_path_leads_out_of_the_folder(folder: Path, reference: str) -> None:
    place = reference.format(above=folder.parent)
    assert one(InputPictures(folder.parent), "secret.png") is not None
    assert one(InputPictures(folder, fetch=True), place) is None


def test_without_a_folder_no_file_is_read(folder: Path) -> None:
    assert one(InputPictures(fetch=True), (folder / "day" / "a b.png").as_uri()) is None


@pytest.mark.parametrize("name", ["note.txt", "drawing.svg", "huge.png", "day", "missing.png", ""])
def test_what_is_no_small_picture_is_left_out(folder: Path, name: str) -> None:
    assert one(InputPictures(folder), name) is None


def test_servers_are_asked_only_with_leave(folder: Path, server: str) -> None:
    reference = f"{server}/day/a%20b.png"
    assert one(InputPictures(folder), reference) is None
    assert one(InputPictures(folder, fetch=True), reference) is not None
    assert one(InputPictures(folder, fetch=True), f"{server}/missing.png") is None


def test_chained_and_unknown_references_are_never_followed(folder: Path, server: str) -> None:
    pictures = InputPictures(folder, fetch=True)
    place = (folder.parent / "secret.png").as_posix()
    for reference in (f"simplecache::{server}/day/a%20b.png", f"local://{place}", "ftp://x/a.png"):
        assert one(pictures, reference) is None


def test_so_many_pictures_and_no_more(folder: Path) -> None:
    found = InputPictures(folder).read([None, *["day/a b.png"] * (MOST_PICTURES + 3)])
    assert [picture is not None for picture in found] == [
        False,
        *[True] * MOST_PICTURES,
        *[False] * 3,
    ]


def test_kinds_are_recognised_by_their_first_bytes() -> None:
    assert media_type(b"\xff\xd8\xff\xe0rest") == "image/jpeg"
    assert media_type(b"RIFF\x00\x00\x00\x00WEBPrest") == "image/webp"
    assert media_type(b"RIFF\x00\x00\x00\x00WAVErest") is None
