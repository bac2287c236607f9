"""What ``pip install latentwatch`` brings: every house, and three small dependencies."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("detector", "producers", "stream", "chaos", "lab")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", *HOUSES)

# nothing from outside the environment may be found
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|"
    r"Temporary failure in name resolution|Network is unreachable"
)

FIT_AND_TEST = """
import numpy as np
from latentwatch import Baseline
rng = np.random.default_rng(0)
rows, classes = rng.standard_normal((1024, 8)).astype(np.float32), np.zeros(1024, int)
baseline = Baseline.fit(
    {"deep": rows}, classes, model="m", version="1", longest_window=32, simulated_requests=2000
)
attack = rng.standard_normal((64, 8)).astype(np.float32) * 4
print(baseline.test({"deep": attack}, np.zeros(64, int)).p_value)
"""

OWN_FOLDERS = """
import stream, detector, producers, chaos, lab
from latentwatch import BackgroundPublisher, capture
import latentwatch.producers
print(stream.__file__, latentwatch.producers.__file__)
"""


def pip(*arguments: str | Path) -> None:
    """Run pip; without a way to PyPI the test is skipped."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, env=CLEAN, capture_output=True, text=True)
    said = ended.stdout + ended.stderr
    if ended.returncode and UNREACHABLE.search(said):
        pytest.skip("PyPI cannot be reached, so nothing can be installed")
    assert ended.returncode == 0, said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, target = ROOT / name, folder / "source" / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, target, symlinks=True, ignore=ignored)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(source, target)
    pip("wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """An empty virtual environment, and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.work = folder / "venv" / "bin", folder / "work"
        self.work.mkdir()
        make = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
        subprocess.run(make, check=True)

    def install(self, requirement: str) -> None:
        """Install, with the versions that the project is tested with."""
        constraints = ("--constraint", ROOT / "constraints.txt", "--no-compile")
        pip("--python", self.bin / "python", "install", *constraints, requirement)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in the folder."""
        program = self.bin / command[0]
        return subprocess.run(
            [program, *command[1:]], cwd=self.work, env=CLEAN, capture_output=True, text=True
        )

    def packages(self) -> set[str]:
        """Names of the installed distributions."""
        program = (
            "from importlib.metadata import distributions\n"
            "print(*(found.name.lower() for found in distributions()))"
        )
        ended = self.run("python", "-c", program)
        assert ended.returncode == 0, ended.stderr
        return set(ended.stdout.split())


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with latentwatch alone."""
    environment = Environment(tmp_path_factory.mktemp("base"))
    environment.install(str(wheel))
    return environment


def closure(extra: str, requirements: Sequence[str]) -> set[str]:
    """Extras that an extra brings, itself included."""
    found, waiting = set[str](), [extra]
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in requirements:
            own = re.fullmatch(rf"latentwatch\[([^\]]+)\] *; extra == ['\"]{name}['\"]", line)
            waiting += [each for each in own[1].split(",") if each not in found] if own else []
    return found


@pytest.mark.slow
def test_the_wheel_has_every_file_of_every_house(wheel: Path) -> None:
    wanted = {
        f"latentwatch/{path.relative_to(ROOT)}"
        for house in HOUSES
        for path in (ROOT / house).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {f"latentwatch/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    assert any(name.endswith(".html") for name in wanted)
    assert any("/static/vendor/" in name for name in wanted)
    names = set(ZipFile(wheel).namelist())
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"latentwatch"}


@pytest.mark.slow
def test_all_is_every_extra_of_users(wheel: Path) -> None:
    archive = ZipFile(wheel)
    (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    extras = set(metadata.get_all("Provides-Extra", []))
    requirements = metadata.get_all("Requires-Dist", [])
    assert closure("all", requirements) == extras - {"dev"}


@pytest.mark.slow
def test_an_inference_service_gets_little(base: Environment) -> None:
    packages = base.packages()
    assert {"latentwatch", "numpy", "orjson", "aiokafka"} <= packages
    unwanted = {"torch", "faust-streaming", "scipy", "click", "pydantic", "safetensors"}
    assert not packages & unwanted
    assert len(packages) < 12, packages
    ended = base.run("python", "-c", "from latentwatch import BackgroundPublisher, capture")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_what_is_missing_is_named_with_its_extra(base: Environment) -> None:
    ended = base.run("python", "-c", "import latentwatch.detector")
    last = ended.stderr.splitlines()[-1]
    assert "latentwatch.detector needs" in last
    assert "pip install 'latentwatch[detector]'" in last
    for command in (("latentwatch",), ("python", "-m", "latentwatch", "worker")):
        ended = base.run(*command)
        assert ended.returncode == 1
        assert ended.stderr == ("the command line needs click: pip install 'latentwatch[worker]'\n")


@pytest.mark.slow
def test_folders_of_a_user_with_names_of_ours_do_no_harm(base: Environment) -> None:
    for house in HOUSES:
        (base.work / house).mkdir()
        (base.work / house / "__init__.py").touch()
    (base.work / "script.py").write_text(OWN_FOLDERS)
    ended = base.run("python", "script.py")
    assert ended.returncode == 0, ended.stderr
    theirs, ours = ended.stdout.split()
    assert Path(theirs) == base.work / "stream" / "__init__.py"
    assert "site-packages" in ours


@pytest.mark.slow
def test_the_extra_detector_fits_and_tests(base: Environment, wheel: Path) -> None:
    base.install(f"{wheel}[detector]")
    assert not base.packages() & {"torch", "faust-streaming", "click"}
    ended = base.run("python", "-c", FIT_AND_TEST)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 0.01
