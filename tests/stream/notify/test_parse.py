"""Targets from the command line and from files."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from latentwatch.stream.cli.notify import notify
from latentwatch.stream.notify.parse import parse_target, parse_targets, targets_in_file
from latentwatch.stream.notify.targets import (
    AlertmanagerTarget,
    AppriseTarget,
    NotifyError,
    WebhookTarget,
)

SECRET = {"HOOK": "0123456789abcdef"}


def test_the_scheme_says_what_kind_of_target_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    found = parse_targets(
        [
            "alertmanager+https://host:9093/prefix",
            "webhook+https://host/path?team=a#env:HOOK",
            f"filed=webhook+http://host#file:{tmp_path / 'secret'}",
            "json://host/path",
        ],
        environ=SECRET,
    )
    kinds = [AlertmanagerTarget, WebhookTarget, WebhookTarget, AppriseTarget]
    assert [type(target) for target in found] == kinds
    assert found[2].name == "filed"


def test_a_name_is_the_same_at_every_start_and_differs_between_urls() -> None:
    names = [parse_target(f"json://host/{path}").name for path in ("a", "a", "b")]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("json-")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t0ken", "a target is not a URL"),
        ("nonsense://t0ken", "apprise does not understand"),
        ("slack://t0ken", "apprise does not understand"),
        ("a=alertmanager+ftp://t0ken", "must be http:// or https://"),
        ("a=alertmanager+http:///t0ken", "must be http:// or https://"),
        ("a=webhook+http://host:port/t0ken#env:HOOK", "must be http:// or https://"),
        ("a=webhook+http://host/t0ken", "a webhook needs a signing secret"),
        ("a=webhook+http://host/t0ken#hush", "a webhook needs a signing secret"),
        ("a=webhook+http://host/t0ken#env:OTHER", "missing or shorter than 16 bytes"),
        ("a=webhook+http://host/t0ken#file:/no/such", "'a': /no/such cannot be read"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused_and_not_repeated(text: str, message: str) -> None:
    with pytest.raises(NotifyError, match=message) as caught:
        parse_target(text, environ=SECRET)
    assert "t0ken" not in str(caught.value)


def test_two_targets_need_two_names() -> None:
    with pytest.raises(NotifyError, match="name each"):
        parse_targets(["json://host/a", "json://host/a"])


def test_a_file_has_one_target_per_line(tmp_path: Path) -> None:
    path = tmp_path / "targets"
    path.write_text("# on call\njson://host/a\n\n  b=json://host/b  \n")
    assert targets_in_file(path) == ["json://host/a", "b=json://host/b"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(NotifyError, match="one target per line"):
        targets_in_file(path)


def test_a_target_is_required() -> None:
    outcome = CliRunner().invoke(notify, [])
    assert outcome.exit_code == 2
    assert "name a target with --to or --to-file" in outcome.output
