"""The set-up: the lists of packages in step with each other and with Google Colab; the commands of the README."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
COLAB = Path(os.environ.get("COLAB", "tests/reference/colab-constraints.txt"))
COLAB = COLAB if COLAB.is_absolute() else ROOT / COLAB
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"matplotlib": "matplotlib-base", "isal": "python-isal"}


def ranges(*extras):
    """The version ranges in pyproject.toml, by package: of the library itself, or of some extras."""
    lists = [PROJECT["optional-dependencies"][extra] for extra in extras] or [PROJECT["dependencies"]]
    found = [Requirement(line) for one in lists for line in one]
    return {canonicalize_name(r.name): r.specifier for r in found if r.name != PROJECT["name"]}


def pins(path):
    """The exact versions in a file of `name==version` lines (comments and markers left out), as lists by package."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, version = line.split(";")[0].split("==")
            found.setdefault(canonicalize_name(name.strip()), []).append(version.strip())
    return found


def conda_ranges():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    with_pip = next(line for line in lines if isinstance(line, dict))["pip"]
    lines = [line for line in lines if isinstance(line, str)] + with_pip
    found = {re.match(r"[\w.-]+", line).group(): line for line in lines}
    return {name: SpecifierSet(line.removeprefix(name)) for name, line in found.items()}


def tracked_files():
    """The files that git tracks; git itself is asked, for only it knows."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone (a copy of the files has no list of those that belong to it)")
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def targets():
    return set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


LIBRARY = ranges()
ALL = LIBRARY | ranges("jax", "data", "scale", "test", "course", "book")


def test_no_second_tensorflow():
    assert "tensorflow" in LIBRARY
    assert not [name for name in ALL if name.startswith("tensorflow-")]


@pytest.mark.parametrize("name", ALL)
def test_lock_satisfies_range(name):
    locked = pins(ROOT / "requirements.lock").get(name)
    assert locked, f"{name} has no line in requirements.lock; run `make lock`"
    assert all(ALL[name].contains(version) for version in locked), f"{name} {ALL[name]}, locked {locked}"


@pytest.mark.parametrize("name", ALL)
def test_conda_has_the_same_range(name):
    conda = conda_ranges()
    name_there = CONDA_NAMES.get(name, name)
    assert name_there in conda, f"{name_there} has no line in environment.yml"
    assert conda[name_there] == ALL[name]


def test_conda_has_nothing_else():
    extra = set(conda_ranges()) - {CONDA_NAMES.get(name, name) for name in ALL}
    assert extra == {"python", "pip"}


def test_python_versions_agree():
    lowest = PROJECT["requires-python"]
    assert lowest == ">=3.11"
    assert str(conda_ranges()["python"]) == str(SpecifierSet(f"{lowest},<3.14"))
    assert "(3, 11) <= sys.version_info < (3, 14)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALL)
def test_range_admits_colab(name):
    pinned = pins(COLAB).get(name, [])
    assert pinned or name not in LIBRARY, f"Colab does not list {name}: installing the library there would add it"
    assert all(ALL[name].contains(version) for version in pinned), f"{name} {ALL[name]}, Colab has {pinned}"


def test_readme_commands_are_targets():
    in_blocks = "\n".join(
        re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    )
    assert re.findall(r"^make ([a-z-]+)", in_blocks, flags=re.MULTILINE) == ["course", "test"]
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"course", "test"} | named <= targets()


def test_every_target_has_a_line_of_help():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, flags=re.MULTILINE).group(1).replace("\\", "").split()
    with_help = re.findall(r"^([a-z-]+):.*## \S", makefile, flags=re.MULTILINE)
    assert sorted(phony) == sorted(with_help) == sorted(targets())


def test_continuous_integration_runs_the_tests():
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines
    assert "make test" in lines
    assert os.access(script, os.X_OK)


def test_the_workflows_of_a_fork_are_valid_and_call_these_targets():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*checker, *workflows], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    called = {w.stem: set(re.findall(r"make ([a-z-]+)", w.read_text(encoding="utf-8"))) for w in workflows}
    assert called == {
        "tests": {"unit", "lint", "test"},
        "site": {"book", "student-branch"},
        "release": {"book"},
        "colab": {"test-here"},
    }
    assert set().union(*called.values()) <= targets()


def test_console_command_starts_the_module():
    assert PROJECT["scripts"] == {"organseg": "organseg.__main__:main"}


def test_no_address_of_a_package_registry():
    """Which registry serves the packages is each machine's own affair, and may be a private one."""
    hosts = {"pypi" + ".org", "python" + "hosted.org", "anaconda" + ".org"}
    configured = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    configured += " ".join(value for key, value in os.environ.items() if re.match(r"(PIP|UV)_\w*(INDEX|LINKS)", key))
    for address in re.findall(r"https?://[^\s'\"]+", configured):
        hosts.add(urlsplit(address).hostname)

    found = []
    for path in tracked_files():
        content = path.read_bytes()
        found += [f"{path.relative_to(ROOT)}: {host}" for host in sorted(hosts) if host.encode() in content]
    assert not found

    options = re.compile(rb"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b", re.MULTILINE)
    assert not options.search((ROOT / "requirements.lock").read_bytes())


def test_the_books_reference_lists_the_public_names():
    from organseg import _ROOMS

    listed = re.findall(
        r"automodule:: organseg\.([\w.]+)\n   :members: (.*)",
        (ROOT / "book" / "reference.md").read_text(encoding="utf-8"),
    )
    public = {room: sorted(names.split()) for room, names in _ROOMS.items()}
    assert {room: sorted(names.split(", ")) for room, names in listed} == public
