"""Finds Java, and the jars of Apache Kafka.

The jars come from Maven artefacts: through jgo (Python, part of the extra ``demo``), or else
through ``mvn`` if it is installed, which also knows the mirrors and proxies of a company's
``settings.xml``. They are cached with their SHA-256, so that later starts need no network and
detect a damaged file.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from latentwatch.lab.cache import cache_folder
from latentwatch.stream.core.errors import BrokerError

__all__ = ["KAFKA_VERSION", "find_java", "kafka_jars"]

KAFKA_VERSION = "4.4.0"
OLDEST_JAVA = 17

_KAFKA = ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
# Kafka logs through slf4j and names no back end. The version is that of Kafka's own log4j-core,
# and the jar is taken without dependencies: they are Kafka's, and log4j's would displace them.
_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5")

_MAVEN_SECONDS = 900.0
_DOWNLOAD_TIMEOUT = 30

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>io.latentwatch</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""

_DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)


def find_java() -> Path:
    """Return a Java of version 17 or newer, from ``JAVA_HOME`` or the ``PATH``.

    Raises
    ------
    BrokerError
        If there is none.
    """
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(on_path)] if on_path else []
    found = []
    for java in candidates:
        version = _java_version(java)
        if version is not None and version >= OLDEST_JAVA:
            return java
        found.append(f"{java} is {'no working Java' if version is None else f'Java {version}'}")
    raise BrokerError(
        f"Kafka needs Java {OLDEST_JAVA} or newer ({'; '.join(found) or 'there is none'}): "
        "install one (for example the package openjdk-17-jre-headless) or set JAVA_HOME, "
        "or set KAFKA_BOOTSTRAP_SERVERS to a broker that is already running"
    )


def _java_version(java: Path) -> int | None:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match and done.returncode == 0 else None


def kafka_jars(progress: Callable[[str], None]) -> list[Path]:
    """Return the jars of Kafka, from the cache or else from Maven artefacts.

    Parameters
    ----------
    progress
        Called with a few words about what takes time.

    Raises
    ------
    BrokerError
        If they are not in the cache and cannot be fetched.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    jars = _cached(folder)
    if jars is None:
        progress(f"fetching Kafka {KAFKA_VERSION} (45 MB, once)")
        try:
            _fetch(folder)
        except OSError as error:
            raise BrokerError(
                f"the cache {folder.parent} cannot be written ({error}): set LATENTWATCH_CACHE "
                "to another folder"
            ) from error
        jars = _cached(folder)
    if jars is None:
        raise BrokerError(f"the jars in {folder} are damaged: remove that folder and try again")
    return jars


def _cached(folder: Path) -> list[Path] | None:
    """Return the jars that the folder's manifest lists; None unless all exist and are intact."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        whole = all(_sha256(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return None
    return [folder / name for name in manifest] if whole else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Fetched into a temporary folder and then renamed: no process ever sees half of it.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as name:
        work = Path(name)
        jars = _resolve(work)
        ready = work / "ready"
        ready.mkdir()
        for jar in jars:
            shutil.copy2(jar, ready / jar.name)
        manifest = {jar.name: _sha256(jar) for jar in jars}
        (ready / "manifest.json").write_text(json.dumps(manifest, indent=1))
        if folder.exists() and _cached(folder) is None:
            shutil.rmtree(folder)
        try:
            ready.rename(folder)
        except OSError:
            if _cached(folder) is None:  # else another process was faster, which is fine
                raise


def _resolve(work: Path) -> list[Path]:
    failures = []
    for name, resolve in (("jgo", _resolve_with_jgo), ("mvn", _resolve_with_maven)):
        try:
            return list(resolve(work / name))
        # Whatever goes wrong in a resolver, the next one may work; every failure is reported.
        except Exception as error:
            failures.append(f"{name}: {error}")
    raise BrokerError(
        f"the jars of Kafka {KAFKA_VERSION} could not be fetched ({'; '.join(failures)}): "
        "check the network and `pip install 'latentwatch[demo]'`, or set "
        "KAFKA_BOOTSTRAP_SERVERS to a broker that is already running"
    )


def _resolve_with_jgo(repository: Path) -> Iterable[Path]:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, timeout=_DOWNLOAD_TIMEOUT)
    kafka = context.create_dependency(":".join(_KAFKA))
    roots, transitive = context.resolver.resolve([kafka])
    needed = [*roots, *(item for item in transitive if item.scope in ("compile", "runtime"))]
    group, name, version = _LOGGING
    logging_jar = context.project(group, name).at_version(version).artifact()
    return [item.artifact.resolve() for item in needed] + [logging_jar.resolve()]


def _resolve_with_maven(work: Path) -> Iterable[Path]:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError("not installed")
    work.mkdir()
    dependencies = "".join(_DEPENDENCY.format(*item) for item in (_KAFKA, _LOGGING))
    (work / "pom.xml").write_text(_POM.format(dependencies=dependencies))
    goals = ["dependency:copy-dependencies", f"-DoutputDirectory={work}", "-DincludeScope=runtime"]
    done = subprocess.run(
        [maven, "--batch-mode", "--quiet", "--file", work / "pom.xml", *goals],
        capture_output=True,
        text=True,
        timeout=_MAVEN_SECONDS,
    )
    if done.returncode != 0:
        raise BrokerError(done.stdout.strip()[-500:] or f"exit code {done.returncode}")
    return sorted(work.glob("*.jar"))
