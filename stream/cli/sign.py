"""``latentwatch baseline keygen``, ``sign`` and ``verify``: who vouches for a baseline."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["keygen", "sign", "verify"]

_KEY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--out",
    "private",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File for the private key, readable only by its owner. The public key, for the workers, "
    "goes into the same folder: signing.pub.pem for signing.pem.",
)
def keygen(private: Path) -> None:
    """Make a pair of keys for signing baselines.

    Keep the private key where baselines are fitted, away from workers and from the folder of the
    baselines. Existing files are never replaced.
    """
    from latentwatch.stream.signing.signatures import key_id, make_key, public_file_of

    key = make_key(private)
    click.echo(f"wrote {private}, the private key: keep it secret")
    click.echo(f"wrote {public_file_of(private)}, the public key {key_id(key)}")


@click.command()
@click.argument("url")
@click.option(
    "--key", "private", type=_KEY_FILE, required=True, help="File of the private key, in PEM."
)
@click.option("--force", is_flag=True, help="Replace an existing signature.")
def sign(url: str, private: Path, force: bool) -> None:
    """Sign a baseline.

    The signature is written to URL with .sig appended. Look at the baseline with `latentwatch
    baseline show` first, and sign only what you would let a worker use.
    """
    from latentwatch.detector.artefact import filesystem_of, parse, read
    from latentwatch.stream.signing.signatures import key_id, read_private_key, signature_url
    from latentwatch.stream.signing.signatures import sign as sign_bytes

    key = read_private_key(private)
    place = signature_url(url)
    filesystem, path = filesystem_of(place)
    if filesystem.exists(path) and not force:
        raise click.ClickException(f"{place} already exists; --force replaces it")
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
    help="PEM file of the trusted public keys; one of them must have signed.",
)
def verify(url: str, public: Path) -> None:
    """Check the signature of a baseline, as a worker does.

    The exit code is 1 if the signature of the baseline at URL is missing or not valid.
    """
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
