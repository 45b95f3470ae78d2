"""The wheel is complete: it installs beside nothing of the checkout, and answers a question there."""

import configparser
import email
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

import compressor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "research": "requirements-research.txt",
    "xcomposer": "requirements-xcomposer.txt",
    "four-bit": "requirements-4bit.txt",
    "dev": "requirements-dev.txt",
}


def requirements(file: str) -> tuple[list[str], list[str]]:
    """What a requirements file asks for itself, and the files that it includes."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    included = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    return [line for line in lines if line and not line.startswith("-r ")], included


def test_dependencies_are_those_of_the_requirements_files():
    assert PROJECT["dependencies"] == requirements("requirements.txt")[0]
    assert PROJECT["optional-dependencies"].keys() == EXTRAS.keys()
    extra_of = {file: extra for extra, file in EXTRAS.items()}
    for extra, file in EXTRAS.items():
        own, included = requirements(file)
        others = [extra_of[other] for other in included if other != "requirements.txt"]
        expected = [f"{PROJECT['name']}[{','.join(others)}]"] if others else []
        assert PROJECT["optional-dependencies"][extra] == expected + own, extra


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


def pip(*arguments: str) -> None:
    output(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, folder=ROOT)


def output(*command: str | Path, folder: Path) -> str:
    """What a command prints that is run in a folder; the error of one that fails is shown."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_says_what_it_needs_and_holds_the_assets(wheel):
    assert wheel.name == f"metacompress_studio-{compressor.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
        (folder,) = {name.split("/")[0] for name in members if name.endswith(".dist-info/METADATA")}
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        scripts = configparser.ConfigParser()
        scripts.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    assert dict(scripts["console_scripts"]) == PROJECT["scripts"]
    assert metadata["Version"] == compressor.__version__
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS.keys()
    needed = [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]
    assert sorted(map(name_and_range, needed)) == sorted(map(name_and_range, PROJECT["dependencies"]))
    tracked = output("git", "ls-files", "assets", "app", "compressor", folder=ROOT).split()
    assert tracked
    documentation = {name for name in tracked if re.fullmatch("assets/[^/]+", name)}
    expected = {re.sub("^assets/", "compressor/_assets/", name) for name in set(tracked) - documentation}
    assert expected <= members


def name_and_range(requirement: str) -> tuple[str, frozenset[str]]:
    """A requirement, whatever the order of its bounds."""
    name, bounds = re.fullmatch(r"([\w.-]+)\s*\(?([^)]*)\)?", requirement).groups()
    return name, frozenset(bounds.replace(" ", "").split(","))


@pytest.fixture(scope="module", params=["wheel", "git"])
def installed(request, tmp_path_factory):
    """An environment with the project installed, that sees this one's packages but not the checkout."""
    folder = tmp_path_factory.mktemp(f"installed-{request.param}")
    output(sys.executable, "-m", "venv", "--without-pip", "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own_packages = output(python, "-c", query, folder=folder).strip()
    Path(own_packages, "test_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    what = str(request.getfixturevalue("wheel")) if request.param == "wheel" else f"git+file://{ROOT}"
    pip("--python", str(python), "install", "--no-deps", "--no-build-isolation", what)
    return folder


def test_the_installed_command_answers_from_another_folder(installed):
    outside = installed / "elsewhere"
    outside.mkdir()
    where = "import app, compressor; print(app.__file__, compressor.__file__)"
    python = installed / "venv" / "bin" / "python"
    places = output(python, "-c", where, folder=outside)
    assert all(str(installed) in place for place in places.split()), places
    command = [installed / "venv" / "bin" / "metacompress", "ask", "scene:1000000004"]
    printed = output(*command, "--question", "what color is the cat?", folder=outside)
    assert printed.splitlines()[:2] == ["> what color is the cat?", "brown"]


def test_the_installed_page_can_be_built_from_another_folder(installed):
    code = "from app.launch import create_page; page, pool = create_page(); assert page.blocks"
    python = installed / "venv" / "bin" / "python"
    output(python, "-c", code, folder=installed)
    assert (installed / "venv" / "bin" / "metacompress-studio").is_file()
