"""The way in and the way out: what newcomers, editors and git read, the checks before a commit, and a release."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import organseg

ROOT = Path(__file__).resolve().parents[2]
VERSION = organseg.__version__
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    latest = re.findall(
        r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )[0]
    assert project["version"] == citation["version"] == latest == VERSION


@pytest.fixture
def released(tmp_path):
    """Runs the first step of the workflow for a tag, in a copy of the files that it reads."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "_config.yml", "lib/organseg/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    steps = yaml.safe_load(RELEASE.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name", "").startswith("One version everywhere")]

    def run(tag):
        environment = os.environ | {"GITHUB_REF_NAME": tag}
        return subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
        )

    return tmp_path, run


def test_a_tag_with_the_version_is_released_with_the_words_of_the_changelog(released):
    folder, run = released
    done = run(f"v{VERSION}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    notes, changelog = (path.read_text(encoding="utf-8") for path in (folder / "notes.md", folder / "CHANGELOG.md"))
    assert notes.strip() and notes in changelog and "\n## " not in notes and "[Unreleased]" not in notes


@pytest.mark.parametrize(
    ("name", "text", "becomes"),
    [
        ("pyproject.toml", f'\nversion = "{VERSION}"', '\nversion = "9.9.9"'),
        ("lib/organseg/__init__.py", f'__version__ = "{VERSION}"', '__version__ = "9.9.9"'),
        ("CITATION.cff", f"\nversion: {VERSION}", "\nversion: 9.9.9"),
        ("CHANGELOG.md", f"## [{VERSION}]", "## [9.9.9]"),
        ("_config.yml", '  url: ""', '  url: "https://github.com/someone/fork"'),  # its first cells install from main
    ],
)
def test_nothing_is_released_where_one_file_says_something_else(released, name, text, becomes):
    folder, run = released
    before = (folder / name).read_text(encoding="utf-8")
    assert text in before
    (folder / name).write_text(before.replace(text, becomes), encoding="utf-8")
    done = run(f"v{VERSION}")
    assert done.returncode == 1 and done.stdout.startswith(f"{name}: found no ")


def test_first_cells_that_install_from_the_tag_may_be_released(released):
    folder, run = released
    config = (folder / "_config.yml").read_text(encoding="utf-8")
    config = config.replace('  url: ""', '  url: "https://github.com/someone/fork"')
    (folder / "_config.yml").write_text(config.replace("  branch: main", f"  branch: v{VERSION}"), encoding="utf-8")
    assert run(f"v{VERSION}").returncode == 0


def test_only_the_switched_off_job_may_publish():
    workflow = yaml.safe_load(RELEASE.read_text(encoding="utf-8"))
    with_token = [name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})]
    assert with_token == ["publish"] and "id-token" not in workflow["permissions"]
    assert workflow["jobs"]["publish"]["if"] == "vars.PUBLISH == 'yes'"


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[0-9]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_github_understands(schema, pattern):
    files = sorted(ROOT.glob(pattern))
    assert files
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*checker, *files], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_check_before_commits_is_a_program_of_the_environment(hook):
    python, minus_m, module, *_ = hook["entry"].split()
    assert (hook["language"], python, minus_m) == ("system", ".venv/bin/python", "-m")
    assert importlib.util.find_spec(module), f"{module} is not installed"


def test_the_check_of_the_notebooks_calls_a_test_that_is_there():
    (entry,) = [hook["entry"] for hook in HOOKS if hook["id"] == "notebooks"]
    file, name = re.search(r"(tests/\S+) -k (\w+)$", entry).groups()
    assert name in (ROOT / file).read_text(encoding="utf-8")


def test_commands_that_contributors_read_are_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, flags=re.MULTILINE))
    for page in ("CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md", ".devcontainer/devcontainer.json"):
        named = set(re.findall(r"(?m)(?:[`\"]|^)make ([a-z-]+)", (ROOT / page).read_text(encoding="utf-8")))
        assert "unit" in named and named <= targets, page


FOLDERS = ("lib", "data_scripts", "tools", "tests", "benchmarks", "book")


def text_without_encoding(source):
    """The lines that read or write text as the machine's locale has it: not UTF-8 on every Windows."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        opens = isinstance(node.func, ast.Name) and node.func.id == "open"
        binary = any(
            isinstance(n, ast.Constant) and "b" in str(n.value) for arg in node.args[1:] for n in ast.walk(arg)
        )
        if (method, len(node.args)) in {("read_text", 0), ("write_text", 1)} or (opens and not binary):
            yield node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_file_is_read_and_written_as_utf8(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        for line in text_without_encoding(file.read_text(encoding="utf-8"))
    ]
    assert not found, 'name the encoding: encoding="utf-8"'


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("path.read_text()", [1]),
        ("path.write_text(text)", [1]),
        ("open(path)", [1]),
        ("open(path, 'w', newline='')", [1]),
        ("path.read_text(encoding='utf-8')", []),
        ("path.write_text(text, encoding='utf-8')", []),
        ("open(path, 'rb')\nImage.open(path)\nopen(path, 'ab' if more else 'wb')", []),
        ("tool.write_text(path, text)\ntool.read_text(path)", []),  # functions of ours with these names
    ],
)
def test_the_search_for_encodings_finds_what_it_should(source, lines):
    assert list(text_without_encoding(source)) == lines
