"""Who gets access, and what every response forbids."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentwatch.stream.dashboard.access import COOKIE, SESSION_SECONDS, is_session, session_cookie
from latentwatch.stream.dashboard.options import DashboardError, Options, read_token
from tests.stream.dashboard.client import Client

Make = Callable[..., Client]

TOKEN = "a-token-that-is-long-enough"
PROXIES = (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host": "0.0.0.0"}, "other machines could read everything"),
        ({"host": "192.168.1.7"}, "other machines could read everything"),
        ({"token": "short"}, "shorter than 16"),
        ({"token": TOKEN, "trusted_header": "X-User"}, "exclude each other"),
        ({"tls_key": Path("key.pem")}, "needs --tls-certificate"),
        ({"workers": ("localhost:9464",)}, "not the address of a worker"),
        ({"workers": ("file:///etc/passwd",)}, "not the address of a worker"),
    ],
)
def test_an_unsafe_configuration_does_not_start(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DashboardError, match=text):
        Options(history=Path("h"), **options)


def test_no_secret_is_in_the_repr() -> None:
    assert TOKEN not in repr(Options(history=Path("h"), host="0.0.0.0", token=TOKEN))


def test_a_token_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(DashboardError, match="put the token there"):
            read_token(tmp_path / name)


@pytest.mark.parametrize("host", ["localhost:8470", "127.0.0.1", "[::1]:8470", "192.168.1.7"])
def test_browsers_on_this_machine_have_access(make_client: Make, host: str) -> None:
    assert make_client(host=host).get("/api/models").status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/models", "/api/events", "/static/main.js", "/livez"])
def test_a_host_name_that_resolves_here_but_is_not_ours_is_refused(
    make_client: Make, path: str
) -> None:
    refused = make_client(host="evil.example").get(path)
    assert refused.status_code == 421
    assert "--allowed-host" in refused.json()["detail"]


def test_a_name_that_the_operator_allows_is_served(make_client: Make) -> None:
    client = make_client(host="watch.example:8470", allowed_hosts=("watch.example",))
    assert client.get("/api/models").status_code == 200


@pytest.mark.parametrize("path", ["/api/models", "/api/events", "/api/openapi.json", "/metrics"])
def test_nothing_is_shown_without_the_token(make_client: Make, path: str) -> None:
    client = make_client(token=TOKEN)
    assert client.get(path).status_code == 401
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"):
        assert client.get(path, headers={"authorization": wrong}).status_code == 401


def test_probes_and_the_login_page_need_no_token(make_client: Make) -> None:
    client = make_client(token=TOKEN)
    for path in ("/livez", "/login", "/static/base.css"):
        assert client.get(path).status_code == 200
    assert client.get("/readyz").status_code == 503


def test_programs_send_the_token_in_a_header(make_client: Make) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert make_client(token=TOKEN).get("/metrics", headers=headers).status_code == 200


def test_people_log_in_and_out(make_client: Make) -> None:
    client = make_client(token=TOKEN)
    redirected = client.get("/", headers={"accept": "text/html"})
    assert (redirected.status_code, redirected.headers["location"]) == (303, "/login")
    entered = client.post("/login", data={"token": TOKEN})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/models").status_code == 200
    client.post("/logout")
    assert client.get("/api/models").status_code == 401


@pytest.mark.parametrize("body", [b"token=wrong", b"", b"token=" + b"x" * 100_000, b"\xff\xfe"])
def test_a_wrong_token_is_refused_and_sets_no_cookie(make_client: Make, body: bytes) -> None:
    refused = make_client(token=TOKEN).post("/login", content=body)
    assert refused.status_code == 401
    assert "not the token" in refused.text
    assert "set-cookie" not in refused.headers


def test_forms_of_other_sites_are_refused(make_client: Make) -> None:
    client = make_client(token=TOKEN)
    for path in ("/login", "/logout"):
        sent = client.post(path, data={"token": TOKEN}, headers={"sec-fetch-site": "cross-site"})
        assert sent.status_code == 403


def test_a_session_ends_and_cannot_be_forged() -> None:
    cookie = session_cookie(TOKEN, 1000.0)
    assert is_session(cookie, TOKEN, 999.0 + SESSION_SECONDS)
    assert not is_session(cookie, TOKEN, 1000.0 + SESSION_SECONDS)
    later = f"{10**12}.{cookie.partition('.')[2]}"
    for forged in (later, "", ".", "x.y", f"{cookie}0"):
        assert not is_session(forged, TOKEN, 0.0)
    assert COOKIE.isidentifier()


def test_a_proxy_vouches_for_its_users(make_client: Make) -> None:
    options: dict[str, Any] = {"trusted_header": "X-Forwarded-Email", "trusted_proxies": PROXIES}
    user = {"x-forwarded-email": "ann@example.org"}
    client = make_client(address="10.1.2.3", **options)
    assert client.get("/api/status", headers=user).json()["user"] == "ann@example.org"
    assert client.get("/api/status").status_code == 401
    stranger = make_client(address="11.1.2.3", **options)
    assert stranger.get("/api/status", headers=user).status_code == 403
    assert make_client(host="evil.example", address="10.1.2.3", **options).get(
        "/api/status", headers=user
    ).status_code == 421  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/api/models", "/nothing", "/static/main.js", "/static/../app.py", "/login"]
)
def test_every_response_forbids_what_a_page_does_not_need(make_client: Make, path: str) -> None:
    response = make_client().get(path)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == (
        "no-cache" if path.startswith("/static/m") else "no-store"
    )
    assert "server" not in response.headers


def test_files_beside_the_pages_are_not_served(make_client: Make) -> None:
    client = make_client()
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/docs"):
        assert client.get(path).status_code == 404
