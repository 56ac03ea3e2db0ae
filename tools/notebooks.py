"""From the text that people write (`notebooks/NN_name.py`) to the notebook with its outputs (`NN_name.ipynb`).

    python tools/notebooks.py run [NAMES]      make and run the notebooks whose code changed, or these
    python tools/notebooks.py address URL REF  set the repository's address, and its branch (main) or tag:
                                               what Colab buttons open and first cells install

The minutes, memory and download in a chapter's head and its first code cell are written here, into both files.
What students get is written by tools/students.py.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "book" / "extensions"))
import citations

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
CONFIG = ROOT / "_config.yml"
CELL_TIMEOUT = 1200  # seconds, as in `make test`: a slow and busy machine needs them
MEASURED = "**Measured:**"
GITHUB = r"(?:(?:https?://)?(?:www\.)?github\.com/|(?:ssh://)?git@github\.com[:/])([\w-]+)/([\w-][\w.-]*?)(?:\.git)?/*"
ON_A_GPU = re.compile(r"\.fit\(|\.train_on_batch\(|organseg\.(train|predict|predict_probabilities)\(")
SETUP = """\
# @title Set-up: installs organseg on Colab, and does nothing where it is there
import importlib.util
import os
import subprocess
import sys

source = os.environ.get("ORGANSEG_SOURCE", "{source}")
if importlib.util.find_spec("organseg") is None:
    if not source:

        class NotInstalled(Exception):
            def _render_traceback_(self):
                return [str(self)]  # one line in a notebook

        raise NotInstalled(
            "organseg is not installed, and this notebook has no address to "
            "install it from. On your own computer: run `make lab`. For Colab, "
            "an instructor sets the address: "
            "`make address URL=https://github.com/YOU/organseg`"
        )
    pip = [sys.executable, "-m", "pip", "install", "-q", source]
    subprocess.run(pip, check=True)
"""


def chapters():
    """The texts of all chapters, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))


def made(path):
    """The notebook with outputs that was made from a chapter's text."""
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


def address():
    """The repository's address from _config.yml; empty until an instructor sets it."""
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repository"]["url"] or ""


def setup_cell(branch=None):
    """The first code cell of every notebook: it installs organseg, where there is none, from the branch or tag that
    Colab's buttons open."""
    repository = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repository"]
    source = f"git+{repository['url']}@{branch or repository['branch']}" if repository["url"] else ""
    return SETUP.format(source=source).strip()


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# From the text to a notebook without outputs


def read_text(path):
    """The notebook that a chapter's text describes, with its first cell filled in and without outputs."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if has_tag(cell, "setup"):
            cell.source = setup_cell()
        if cell.cell_type == "markdown":
            cell.source = citations.with_links(cell.source)
        _show_as(cell)
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    if any(ON_A_GPU.search(cell.source) for cell in code(notebook)):
        notebook.metadata |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}  # what Colab starts
    return notebook


def _show_as(cell):
    """What a cell's tags mean for the book (Jupyter Book), JupyterLab and Colab."""
    meta = cell.metadata
    if "alt" in meta:  # where the book looks for the text for those who do not see a picture
        meta["mystnb"] = {"image": {"alt": meta.pop("alt")}}
    if has_tag(cell, "setup"):
        meta["tags"].append("hide-input")
        meta["jupyter"] = {"source_hidden": True}  # its first line stays
        meta["cellView"] = "form"
    if has_tag(cell, "solution") and cell.cell_type == "code":
        meta["tags"].append("hide-cell")
        meta["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
        meta["collapsed"] = True  # Colab's word for outputs that are folded
        meta["cellView"] = "form"
        cell.source = f"# @title Solution: click to see it\n{cell.source}"


def write_text(path, text):
    """Write a chapter's text, with its first cell filled in."""
    start = re.search(r'^# %% tags=\["setup"\]\n', text, flags=re.MULTILINE)
    if start is None:
        sys.exit(f'{path.name}: found no code cell that begins with # %% tags=["setup"]; add one after the head')
    end = text.index("\n# %%", start.end() - 1)
    path.write_text(f"{text[: start.end()]}{setup_cell()}\n{text[end:]}", encoding="utf-8")


# Outputs, and what a run took


def measured_line(measures):
    """What the head of a chapter says, from the stored measures."""
    minutes = max(0.5, round(measures["seconds"] / 30) / 2)
    memory = max(0.5, round(measures["memory_gb"] * 2) / 2)
    megabytes = measures["download_mb"]
    download = f"{megabytes:.0f} MB to download" if megabytes >= 1 else "nothing to download"
    if measures.get("patient"):  # who was at hand when it was run, and is fetched elsewhere
        download = "2 MB to download, once (a patient)"
    spent = {0.5: "half a minute", 1: "one minute"}.get(minutes, f"{minutes:g} minutes")
    return f"{MEASURED} about {spent} on two CPU cores (not measured on a GPU), {memory:g} GB of memory, {download}."


def _received():
    """Bytes that came over the network since the machine started."""
    counters = psutil.net_io_counters(pernic=True)
    return sum(count.bytes_recv for name, count in counters.items() if name != "lo")


def execute(notebook):
    """Run all cells in place and return what the run took."""
    from nbclient import NotebookClient

    from organseg.device.memory import peak_memory

    os.environ["ORGANSEG_PROFILE"] = "fast"
    os.environ.pop("MPLBACKEND", None)  # a notebook draws inline
    place = {"metadata": {"path": NOTEBOOKS}}
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=place)
    began, received = time.monotonic(), _received()
    with peak_memory(children=True) as memory:
        client.execute()
    _forget_the_kernel(notebook)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "memory_gb": round(memory.bytes / 1e9, 2),
        "download_mb": round(max(_received() - received, 0) / 1e6, 1),
    }


def _forget_the_kernel(notebook):
    """Remove what means nothing once the kernel has gone: widgets and times of day."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def run(path, into=None):
    """Make the notebook of a chapter, run it, and write what it took into the head of both files.

    With a folder `into`, only the notebook there is written, as a trial on this machine.
    """
    notebook = read_text(path)
    measures = execute(notebook)
    if into:
        into.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, into / path.with_suffix(".ipynb").name)
    else:
        store(path, notebook, measures)
    return measures


def keep_outputs(path):
    """Bring new words into a notebook whose code has not changed, without running it; False where it has to run."""
    if not path.with_suffix(".ipynb").exists():
        return False
    notebook, old = read_text(path), made(path)
    was_run = all(cell.execution_count for cell in code(old)) and "organseg" in old.metadata
    if not was_run or _lesson(notebook) != _lesson(old):
        return False
    for new, ran in zip(code(notebook), code(old), strict=True):
        new.outputs, new.execution_count = ran.outputs, ran.execution_count
    notebook.metadata["language_info"] = old.metadata["language_info"]
    store(path, notebook, old.metadata["organseg"])
    return True


def _lesson(notebook):
    """The code that makes the outputs: all but the first cell, which does nothing where notebooks are run."""
    return [cell.source for cell in code(notebook) if not has_tag(cell, "setup")]


def store(path, notebook, measures):
    """Write a notebook that has run beside its text, and what the run took into the head of both."""
    shown = [cell for cell in code(notebook) if has_tag(cell, "patient")]
    if any("found no sample patient" in str(cell.outputs) for cell in shown):
        sys.exit(f"{path.name}: found no sample patient; expected one, whom the stored pictures show; see its cells")
    measures = measures | ({"patient": True} if shown else {})
    line, pattern = measured_line(measures), rf"{re.escape(MEASURED)}.*"
    heads = [cell for cell in notebook.cells if has_tag(cell, "head")]
    if len(heads) != 1 or MEASURED not in heads[0].source:
        sys.exit(f"{path.name}: found {len(heads)} cells tagged head; expected one with a line {MEASURED}")
    heads[0].source = re.sub(pattern, line, heads[0].source)
    notebook.metadata["organseg"] = measures
    write_text(path, re.sub(pattern, line, path.read_text(encoding="utf-8")))
    nbformat.write(notebook, path.with_suffix(".ipynb"))


# The repository's address


def clean_address(url):
    """A repository's address as Colab and pip need it, from what people copy."""
    place = re.fullmatch(GITHUB, url.strip(), flags=re.IGNORECASE | re.ASCII)
    if url.strip() and not place:
        sys.exit(f"found the address {url!r}; expected a repository on GitHub: https://github.com/YOU/organseg")
    return f"https://github.com/{place[1]}/{place[2]}" if place else ""


def clean_ref(ref):
    """A branch or tag as git, Colab and the settings take it."""
    if not re.fullmatch(r"\w[\w./-]*", ref, flags=re.ASCII):
        sys.exit(f"found the branch or tag {ref!r}; expected letters, digits, '.', '_', '-' and '/', e.g. v0.1.0")
    return ref


def set_address(url, ref="main"):
    """Write the repository's address and its branch or tag into _config.yml and every first cell.

    An address switches the Colab buttons on, an empty one off.
    """
    text = CONFIG.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^(  url: )".*"', rf'\g<1>"{url}"', text, count=1)
    quoted = ref if yaml.safe_load(ref) == ref else f'"{ref}"'  # 1.10 is a tag, and no number
    text = re.sub(r"(?m)^(  branch: ).*", rf"\g<1>{quoted}", text, count=1)
    text = re.sub(r'(?m)^(  colab_url: )".*"', rf'\g<1>"{"https://colab.research.google.com" if url else ""}"', text)
    text = re.sub(r"(?m)^(  use_repository_button: ).*", rf"\g<1>{str(bool(url)).lower()}", text)
    CONFIG.write_text(text, encoding="utf-8")
    for path in chapters():
        write_text(path, path.read_text(encoding="utf-8"))
        if path.with_suffix(".ipynb").exists():
            notebook = made(path)
            for cell in notebook.cells:
                if has_tag(cell, "setup"):
                    cell.source = setup_cell()
            nbformat.write(notebook, path.with_suffix(".ipynb"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="make and run the notebooks whose code changed, or those named")
    command.add_argument("names", nargs="*", help="the first figures of a chapter, e.g. 02")
    command.add_argument("--into", type=Path, help="run all, and write them here instead: a trial on this machine")
    command = commands.add_parser("address", help="set the repository's address: Colab buttons and first cells")
    command.add_argument("url", help="e.g. https://github.com/me/organseg; empty: none")
    command.add_argument("ref", nargs="?", default="main", help="the branch (main) or a tag, e.g. v0.1.0")
    arguments = parser.parse_args()
    if arguments.command == "address":
        set_address(clean_address(arguments.url), clean_ref(arguments.ref))
    else:
        for path in chapters():
            if not path.name.startswith(tuple(arguments.names or [""])):
                continue
            if not (arguments.names or arguments.into) and keep_outputs(path):
                print(f"{path.stem}: the same code, outputs kept")
                continue
            measures = run(path, arguments.into)
            print(f"{path.stem}: {measures['seconds']} s, {measures['memory_gb']} GB", flush=True)


if __name__ == "__main__":
    main()
