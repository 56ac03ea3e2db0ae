"""What students get: the course without solutions, on a branch that real repositories receive."""

import re
import shutil
import subprocess

import nbformat
import pytest
import yaml
from building import course_for_students, distinctive_lines

import notebooks as tool
import students
from notebooks import has_tag, made

ADDRESS = "https://github.com/someone/fork"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course without solutions, of a fork with an address."""
    return course_for_students(tmp_path_factory.mktemp("fork"), ADDRESS)


def git(*words, within):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=within, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("path", tool.chapters(), ids=lambda path: path.stem)
def test_a_notebook_has_all_cells_but_the_solutions(path, course):
    cells = nbformat.read(course / "notebooks" / f"{path.stem}.ipynb", as_version=4).cells
    kept = [cell for cell in made(path).cells if not has_tag(cell, "solution")]
    assert len(cells) == len(kept) < len(made(path).cells)
    assert sum(has_tag(cell, "exercise") for cell in cells) == sum(has_tag(cell, "exercise") for cell in kept) > 0
    assert [cell.get("outputs") for cell in cells] == [cell.get("outputs") for cell in kept]
    (setup,) = [cell.source for cell in cells if has_tag(cell, "setup")]
    assert f'"git+{ADDRESS}@student"' in setup, "it installs what lies beside it: the repository may be private"


def test_no_file_has_a_solution_but_the_library_that_checks_them(course):
    text = "\n".join(
        file.read_text(encoding="utf-8")
        for file in course.rglob("*")
        if file.suffix in (".py", ".md", ".toml", ".ipynb", ".yml", "") and file.is_file()
        if (course / "lib") not in file.parents
    )
    lines = distinctive_lines()
    assert len(lines) == 40 and all(lines.values())
    assert not {number: line for number, found in lines.items() for line in found if line in text}
    assert not [file for file in course.rglob("*") if file.stem in ("instructors", "misconceptions", "test_solutions")]


def test_it_is_a_project_that_can_be_installed_and_opened(course):
    project = (course / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("README.md", "LICENSE", "lib/organseg"):
        assert f'"{name}"' in project and (course / name).exists()
    rules = re.findall(r"^([a-z-]+):.*## ", (course / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(rules) == set(students.RULES)
    done = subprocess.run(["make", "-n", "-o", ".venv/.ready", *rules], cwd=course, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for place in re.findall(r"\b(?:tools|tests|benchmarks)/\w+", done.stdout):
        pytest.fail(f"its Makefile calls {place}, which students have not got")
    readme = (course / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        assert (course / link).exists()


def test_a_folder_with_other_files_is_not_emptied(tmp_path):
    (tmp_path / "README.md").write_text("My thesis.\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="expected a folder that is new or empty"):
        students.write(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "My thesis.\n"


def test_the_branch_is_published_and_can_be_pulled(course, tmp_path):
    """The answers are in one repository; the class has another, and gets nothing but the branch."""
    answers, public, clone = tmp_path / "answers", tmp_path / "class.git", tmp_path / "clone"
    small = tmp_path / "student"
    shutil.copytree(course, small, ignore=shutil.ignore_patterns("weights"))
    answers.mkdir()
    (answers / "solution.txt").write_text("The answer is 42.\n", encoding="utf-8")
    git("init", "-q", "-b", "main", within=answers)
    git("config", "user.name", "An Instructor", within=answers)
    git("config", "user.email", "a@example.org", within=answers)
    git("add", "solution.txt", within=answers)
    git("commit", "-q", "-m", "With the answers", within=answers)
    git("init", "-q", "--bare", "-b", "student", str(public), within=tmp_path)

    assert students.publish(small, str(public), repository=answers)
    git("clone", "-q", str(public), str(clone), within=tmp_path)
    chapter = "notebooks/02_convolution.ipynb"
    assert (clone / chapter).read_bytes() == (course / chapter).read_bytes()
    assert not students.publish(small, str(public), repository=answers), "nothing has changed"

    (small / "README.md").write_text("Another week.\n", encoding="utf-8")
    assert students.publish(small, str(public), repository=answers)
    git("pull", "-q", "--ff-only", within=clone)
    assert (clone / "README.md").read_text(encoding="utf-8") == "Another week.\n"
    assert git("log", "--all", "--format=%s", within=clone).splitlines() == ["The course without solutions"] * 2
    assert "solution.txt" not in git("log", "--all", "--name-only", within=public)
    assert git("status", "--porcelain", within=answers) == "", "what the instructor works on is untouched"
    assert git("branch", "--list", within=answers) == "* main"


def test_where_it_cannot_be_pushed_one_line_says_so(course, tmp_path):
    git("init", "-q", within=tmp_path)
    with pytest.raises(SystemExit, match="^git ls-remote failed: [^\n]+$"):
        students.publish(course, str(tmp_path / "nowhere"), repository=tmp_path)


def test_the_workflow_publishes_what_the_site_leads_to():
    """The branch comes before the site, and only where the site has no solutions."""
    site = yaml.safe_load((tool.ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    steps = site["jobs"]["publish"]["steps"]
    (branch,) = [n for n, step in enumerate(steps) if "make student-branch" in step.get("run", "")]
    (book,) = [n for n, step in enumerate(steps) if step.get("run") == "make book"]
    assert branch < book and steps[branch]["if"] == "env.SOLUTIONS == 'no'"
    assert site["env"]["SOLUTIONS"] == "${{ vars.SOLUTIONS || 'yes' }}" and site["permissions"]["contents"] == "write"
