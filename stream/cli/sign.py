"""``latentwatch baseline keygen``, ``sign`` and ``verify``: who vouches for a baseline."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

__all__ = ["keygen", "sign", "verify"]

_KEY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _need_extra() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise click.ClickException("this needs cryptography: pip install 'latentwatch[sign]'")


@click.command()
@click.option(
    "--out",
    "private",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of the private key, readable for its owner alone; the public one, for the "
    "workers, is put beside it: signing.pub.pem for signing.pem.",
)
def keygen(private: Path) -> None:
    """Make a key that baselines are signed with.

    Keep the private key where baselines are fitted, away from workers and from the folder of the
    baselines. Nothing is ever replaced.
    """
    _need_extra()
    from latentwatch.stream.signing.signatures import key_id, make_key, public_file_of

    key = make_key(private)
    click.echo(f"wrote {private}, the private key: keep it secret")
    click.echo(f"wrote {public_file_of(private)}, the public key {key_id(key)}")


@click.command()
@click.argument("url")
@click.option(
    "--key", "private", type=_KEY_FILE, required=True, help="File of the private key, in PEM."
)
@click.option("--force", is_flag=True, help="Replace a signature that is there already.")
def sign(url: str, private: Path, force: bool) -> None:
    """Sign the baseline at URL; the signature lies beside it, with .sig at the end.

    What is signed is shown: look at it with `latentwatch baseline show` before, and sign what you
    would let a worker use.
    """
    _need_extra()
    from latentwatch.detector.artefact import filesystem_of, parse, read
    from latentwatch.stream.signing.signatures import key_id, read_private_key, signature_url
    from latentwatch.stream.signing.signatures import sign as sign_bytes

    key = read_private_key(private)
    place = signature_url(url)
    filesystem, path = filesystem_of(place)
    if filesystem.exists(path) and not force:
        raise click.ClickException(f"{place} is there already; --force replaces it")
    content = read(url)
    baseline = parse(content, url)
    filesystem.pipe_file(path, sign_bytes(content, key))
    click.echo(f"wrote {place}")
    click.echo(
        f"{baseline.model}/{baseline.version}, SHA-256 {baseline.sha256}, "
        f"is signed by key {key_id(key.public_key())}"
    )


@click.command()
@click.argument("url")
@click.option(
    "--public-key",
    "public",
    type=_KEY_FILE,
    required=True,
    help="PEM file of the keys that are believed; one of them has to have signed.",
)
def verify(url: str, public: Path) -> None:
    """Check the signature of the baseline at URL, as a worker does; exit 1 if it is not good."""
    _need_extra()
    from latentwatch.detector.artefact import parse, read
    from latentwatch.stream.core.errors import SignatureError
    from latentwatch.stream.signing.signatures import read_public_keys, signature_url, signer

    keys = read_public_keys(public)
    content = read(url)
    try:
        signature = read(signature_url(url))
    except FileNotFoundError as error:
        raise click.ClickException(
            f"{url} is not signed: sign it with `latentwatch baseline sign`"
        ) from error
    try:
        key = signer(content, signature, keys)
    except SignatureError as error:
        raise click.ClickException(f"{url} is refused: {error}") from error
    baseline = parse(content, url)
    click.echo(
        f"{baseline.model}/{baseline.version}, SHA-256 {baseline.sha256}, was signed by key {key}"
    )
