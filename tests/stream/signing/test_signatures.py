"""Signed baselines: made, checked and refused by the commands and by the worker's store."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from latentwatch.stream.cli.main import main
from latentwatch.stream.core.errors import SettingsError, SignatureError
from latentwatch.stream.service.baselines import BaselineStore, baseline_url
from latentwatch.stream.settings import Settings
from latentwatch.stream.signing.signatures import make_key, read_public_keys, signature_url


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["baseline", *map(str, arguments)])


def refused(result: Result) -> str:
    """The one line with which a command failed."""
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    assert run("keygen", "--out", path).exit_code == 0
    return path


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("signing.pub.pem")


@pytest.fixture
def baseline(tmp_path: Path, traffic: Any) -> Path:
    """The baseline of signs/1 where a worker looks for it."""
    path = Path(baseline_url(str(tmp_path / "baselines"), "signs", "1"))
    traffic.baseline.save(str(path))
    return path


def signed(baseline: Path, key: Path) -> Path:
    """Sign; return where the signature is."""
    result = run("sign", baseline, "--key", key, "--force")
    assert result.exit_code == 0, result.output
    return Path(signature_url(str(baseline)))


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def found(baseline: Path, **settings: Any) -> tuple[bool, list[str]]:
    """Whether a worker uses the baseline, and what it logs."""
    folder = str(baseline.parent.parent)
    wanted = Settings(baselines=folder, average_run_length=100_000, **settings)
    with capture_logs() as logs:
        used = BaselineStore.of(wanted, lambda: 0.0).find("signs", "1") is not None
    return used, [f"{log['log_level']}: {log['event']} {log.get('error', '')}" for log in logs]


def test_a_private_key_is_for_its_owner_alone(key: Path, public: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in public.read_text()


def test_no_key_is_ever_replaced(key: Path, public: Path, tmp_path: Path) -> None:
    before = key.read_bytes(), public.read_bytes()
    assert "there already" in refused(run("keygen", "--out", key))
    key.unlink()
    assert "there already" in refused(run("keygen", "--out", key))
    assert (key.exists(), public.read_bytes()) == (False, before[1])


def test_what_was_signed_is_verified(baseline: Path, key: Path, public: Path, traffic: Any) -> None:
    place = signed(baseline, key)
    assert place == baseline.with_name("1.safetensors.sig")
    assert place.read_text().startswith("latentwatch-baseline-signature/1 ")
    result = run("verify", baseline, "--public-key", public)
    assert result.exit_code == 0
    assert f"signs/1, SHA-256 {traffic.baseline.sha256}, was signed by key" in result.stdout


def test_a_signature_is_not_replaced_unless_forced(baseline: Path, key: Path) -> None:
    place = signed(baseline, key)
    before = place.read_bytes()
    assert "--force replaces it" in refused(run("sign", baseline, "--key", key))
    assert place.read_bytes() == before


def test_what_is_no_baseline_is_not_signed(tmp_path: Path, key: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a baseline at all")
    assert "is not a latentwatch baseline" in refused(run("sign", other, "--key", key))
    assert not Path(signature_url(str(other))).exists()


def test_verify_says_what_is_wrong(baseline: Path, key: Path, public: Path, tmp_path: Path) -> None:
    verify = ("verify", baseline, "--public-key", public)
    assert "is not signed" in refused(run(*verify))
    place = signed(baseline, key)
    good, content = place.read_bytes(), baseline.read_bytes()
    baseline.write_bytes(changed(content))
    assert "of another file" in refused(run(*verify))
    baseline.write_bytes(content)
    assert run(*verify).exit_code == 0
    make_key(tmp_path / "other.pem")
    other = run("verify", baseline, "--public-key", tmp_path / "other.pub.pem")
    assert "is not trusted here" in refused(other)
    name, named, value = good.decode().split()
    for damaged in ("", "nonsense", f"{name} {named} {value[:-8]}", f"x/1 {named} {value}"):
        place.write_text(damaged)
        assert "is not one line of" in refused(run(*verify))


def test_a_worker_believes_signed_baselines_alone(
    baseline: Path, key: Path, public: Path, tmp_path: Path
) -> None:
    strict = {"require_signed_baselines": True, "baseline_public_keys": public}
    used, logs = found(baseline, **strict)
    assert not used
    assert "is not signed, and require_signed_baselines is set" in logs[0]
    assert logs[0].startswith("error: baseline unusable: requests are counted, not judged")

    signed(baseline, key)
    assert found(baseline, **strict) == (True, ["info: baseline signed "])

    make_key(tmp_path / "other.pem")
    signed(baseline, tmp_path / "other.pem")
    used, logs = found(baseline, **strict)
    assert not used
    assert "not trusted here" in logs[0]


def test_a_changed_baseline_with_a_sound_digest_is_refused(
    baseline: Path, key: Path, public: Path, traffic: Any
) -> None:
    signed(baseline, key)
    # as somebody with access to the folder would: another baseline, whose own SHA-256 is right
    replace(traffic.baseline, seed=traffic.baseline.seed + 1).save(str(baseline))
    assert found(baseline)[0]
    for required in (False, True):
        used, logs = found(baseline, require_signed_baselines=required, baseline_public_keys=public)
        assert not used
        assert "changed after it was signed" in logs[0]


def test_without_the_requirement_a_missing_signature_is_warned_of(
    baseline: Path, public: Path
) -> None:
    assert found(baseline, baseline_public_keys=public) == (
        True,
        ["warning: baseline not signed: used all the same "],
    )


def test_a_signed_baseline_of_another_version_does_not_pass(
    baseline: Path, key: Path, public: Path
) -> None:
    place = signed(baseline, key)
    other = baseline.with_name("2.safetensors")
    other.write_bytes(baseline.read_bytes())
    Path(signature_url(str(other))).write_bytes(place.read_bytes())
    store = BaselineStore.of(
        Settings(
            baselines=str(baseline.parent.parent),
            average_run_length=100_000,
            require_signed_baselines=True,
            baseline_public_keys=public,
        ),
        lambda: 0.0,
    )
    assert store.find("signs", "1") is not None
    assert store.find("signs", "2") is None


def test_what_is_parsed_is_what_was_checked(baseline: Path, key: Path, traffic: Any) -> None:
    """Somebody who exchanges the file right after the check gains nothing."""

    def check(url: str, content: bytes) -> None:
        replace(traffic.baseline, seed=traffic.baseline.seed + 1).save(url)

    store = BaselineStore(
        str(baseline.parent.parent), lambda: 0.0, average_run_length=100_000, trust=check
    )
    used = store.find("signs", "1")
    assert used is not None
    assert used.sha256 == traffic.baseline.sha256


def test_keys_can_be_changed_one_after_the_other(
    baseline: Path, key: Path, public: Path, tmp_path: Path
) -> None:
    make_key(tmp_path / "new.pem")
    both = tmp_path / "both.pem"
    both.write_bytes(public.read_bytes() + (tmp_path / "new.pub.pem").read_bytes())
    assert len(read_public_keys(both)) == 2
    for used in (key, tmp_path / "new.pem"):
        signed(baseline, used)
        assert run("verify", baseline, "--public-key", both).exit_code == 0


def test_files_that_hold_no_such_key_are_refused(key: Path, public: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    with pytest.raises(SignatureError, match="cannot be read"):
        read_public_keys(tmp_path / "none.pem")
    other.write_text("no key")
    with pytest.raises(SignatureError, match="holds no key in PEM"):
        read_public_keys(other)
    with pytest.raises(SignatureError, match="holds a private key: give workers the public one"):
        read_public_keys(key)
    other.write_bytes(public.read_bytes().replace(b"MCow", b"MCoW"))
    with pytest.raises(SignatureError, match="something else than public Ed25519 keys"):
        read_public_keys(other)


def test_a_public_key_signs_nothing(baseline: Path, public: Path) -> None:
    assert "holds no private Ed25519 key" in refused(run("sign", baseline, "--key", public))


def test_the_requirement_needs_keys() -> None:
    with pytest.raises(SettingsError, match="needs baseline_public_keys"):
        Settings(require_signed_baselines=True)


def test_a_worker_that_finds_no_keys_does_not_start(tmp_path: Path) -> None:
    settings = Settings(baseline_public_keys=tmp_path / "none.pem")
    with pytest.raises(SignatureError, match="cannot be read"):
        BaselineStore.of(settings, lambda: 0.0)


def test_who_signs_nothing_needs_no_extra(tmp_path: Path) -> None:
    """The store and the settings import no cryptography unless keys are given."""
    script = (
        "import sys, latentwatch.stream.service.baselines, latentwatch.stream.settings as s;"
        "latentwatch.stream.service.baselines.BaselineStore.of(s.Settings(), lambda: 0.0);"
        "sys.exit('cryptography.hazmat.primitives.asymmetric.ed25519' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), timeout=60)
    assert done.returncode == 0
