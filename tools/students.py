"""What students get: the course without solutions and without the pages for instructors.

    python tools/students.py write FOLDER          write it: notebooks, pages and the library
    python tools/students.py run FOLDER            write it, and run each notebook there to its end
    python tools/students.py publish FOLDER [TO]   write it, commit it to the branch `student`, and push that to TO

The folder is a project of its own: a site without solutions is built from it, its buttons open the notebooks on the
branch, and the first cells there install the library from the branch. So the repository with the solutions may be
private: TO names the public one for students, and only the commits of that branch go there.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

import notebooks as tool
from notebooks import ROOT, has_tag

BRANCH = "student"
INSTRUCTORS = "For instructors"  # the part of _toc.yml that students do not get
ALONG = ("_static", "lib", "data_scripts", "pyproject.toml", "requirements.lock", "LICENSE", "LICENSE-text",
         "CITATION.cff", ".gitignore", ".gitattributes")  # fmt: skip
RULES = "help", "lab", "demo", "data", "distclean", "clean"  # of the Makefile: what needs no tool of instructors
MADE = "with exercises and without solutions. A program makes them"
README = f"""\
# From pixels to organs

The chapters of the course as notebooks, {MADE}: changes made here
are lost.

{{chapters}}

On your own computer: Linux, a Mac with an Apple chip, or Windows with WSL; Python 3.11, 3.12 or 3.13, git and make;
4 GB of disk. In this folder, `make lab` sets everything up, which takes some minutes the first time, and opens
JupyterLab.

The code is under the [Apache License 2.0](LICENSE); text and figures, by the organseg developers, are under
[CC BY 4.0](LICENSE-text). For teaching and research, **not for clinical use**.
"""


def left_out():
    """The pages for instructors, by their names."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part for part in contents["parts"] if part["caption"] == INSTRUCTORS]
    return [Path(page["file"]).name for part in parts for page in part["chapters"]]


def write(folder):
    """Write the course without solutions, with the stored outputs of all other cells; returns its notebooks.

    A folder that an earlier call wrote is emptied first, and no other.
    """
    if folder.exists() and any(folder.iterdir()):
        readme = folder / "README.md"
        if not (readme.exists() and MADE in readme.read_text(encoding="utf-8")):
            sys.exit(f"{folder}: found files that this program has not made; expected a folder that is new or empty")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = left_out()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", *(f"{name}.md" for name in names))
    for part in ("book", *ALONG):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder)
    written = write_notebooks(folder / "notebooks")
    _write_settings(folder)
    link = re.compile(rf"\[([^\]]*)\]\((?:\.\./book/)?(?:{'|'.join(names)})\.md\)")
    for page in [*folder.glob("book/*.md"), *written]:
        page.write_text(link.sub(r"\1", page.read_text(encoding="utf-8")), encoding="utf-8")
    return written


def write_notebooks(folder):
    """Write the notebooks; their first cells install the library of the branch that they lie on."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in tool.chapters():
        notebook = tool.made(path)
        notebook.cells = [cell for cell in notebook.cells if not has_tag(cell, "solution")]
        for cell in notebook.cells:
            if has_tag(cell, "setup"):
                cell.source = tool.setup_cell(BRANCH)
        nbformat.write(notebook, folder / path.with_suffix(".ipynb").name)
    return sorted(folder.glob("*.ipynb"))


def _write_settings(folder):
    """The settings of the site, its contents, a README, and a Makefile."""
    config = yaml.safe_load(tool.CONFIG.read_text(encoding="utf-8"))
    config["repository"]["branch"] = BRANCH
    # These two lead to the repository's main branch, or to texts that a program overwrites.
    config["html"] |= {"use_repository_button": False, "use_edit_page_button": False}
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    contents["parts"] = [part for part in contents["parts"] if part["caption"] != INSTRUCTORS]
    titles = [(path, tool.made(path).cells[0].source.partition("\n")[0].strip("# ")) for path in tool.chapters()]
    links = "\n".join(f"- [{title}](notebooks/{path.stem}.ipynb)" for path, title in titles)
    texts = {"_config.yml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
             "_toc.yml": yaml.safe_dump(contents, sort_keys=False),
             "README.md": README.format(chapters=links), "Makefile": _makefile()}  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _makefile():
    """The Makefile, with those of its rules that students have a use for."""
    blocks = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n\n")
    rules = [re.match(r"([a-z-]+):.*## ", block) for block in blocks]
    return "\n\n".join(block for block, rule in zip(blocks, rules, strict=True) if not rule or rule[1] in RULES)


def publish(folder, to="origin", repository=ROOT):
    """Commit the folder on top of what `to` has on the branch, and push it; returns whether there was something new."""
    index = folder.with_suffix(".index").resolve()
    index.unlink(missing_ok=True)

    def git(*words, within=repository, **own):
        done = subprocess.run(["git", *words], cwd=within, env=os.environ | own, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"git {words[0]} failed: {' '.join(done.stderr.split())}")
        return done.stdout.strip()

    above = []  # students who have a clone can pull: the branch's history is never written anew
    if git("ls-remote", "--heads", to, f"refs/heads/{BRANCH}"):
        git("fetch", "-q", "--no-tags", to, f"refs/heads/{BRANCH}")
        above = [git("rev-parse", "FETCH_HEAD")]
    own = {"GIT_DIR": git("rev-parse", "--absolute-git-dir"), "GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": "."}
    git("add", "--all", ".", within=folder, **own)
    tree = git("write-tree", within=folder, **own)
    if above and git("rev-parse", f"{above[0]}^{{tree}}") == tree:
        return False
    parents = [word for commit in above for word in ("-p", commit)]
    commit = git("commit-tree", tree, *parents, "-m", "The course without solutions")
    git("push", "-q", to, f"{commit}:refs/heads/{BRANCH}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["write", "run", "publish"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", nargs="?", default="origin", help="a remote or the address of a repository; origin")
    arguments = parser.parse_args()
    written = write(arguments.folder)
    if arguments.command == "run":
        for path in written:
            tool.execute(nbformat.read(path, as_version=4))  # it must run to the end without the solutions
            print(f"{path}: written, runs to the end", flush=True)
    elif arguments.command == "publish":
        new = publish(arguments.folder, arguments.to)
        print(f"{arguments.to}, branch {BRANCH}: {'published' if new else 'nothing new'}")


if __name__ == "__main__":
    main()
