"""The first cell of every notebook, run for real: it fetches organseg over the loopback and replaces nothing.

The environment is the one that these tests run in, without organseg: with `make test-colab`, Google Colab's versions.
"""

import functools
import http.server
import os
import subprocess
import sys
import sysconfig
import threading
import venv
from pathlib import Path

import pytest

import notebooks as tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def served_wheel(tmp_path_factory):
    """The address of a wheel of this project, on a web server of this machine."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("organseg-*.whl")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{wheel.name}"
        server.shutdown()


@pytest.fixture
def python_without_organseg(tmp_path):
    """A new environment that sees the packages of this one, but not organseg."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    # Packages of a folder named in a .pth file are seen; its own .pth files, as of an editable organseg, are not.
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def run(python, code, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ORGANSEG_SOURCE")}
    return subprocess.run(
        [python, "-c", code], env=kept | environment, capture_output=True, text=True, cwd=python.parent
    )


def versions(python):
    listed = "sorted((d.name, d.version, str(d.locate_file(''))) for d in metadata.distributions())"
    code = f"from importlib import metadata; print({listed})"
    return set(eval(run(python, code).stdout))


def test_first_cell_installs_organseg_and_replaces_nothing(served_wheel, python_without_organseg):
    python = python_without_organseg
    assert "ModuleNotFoundError" in run(python, "import organseg").stderr
    before = versions(python)
    done = run(python, tool.setup_cell() + "\nimport organseg; print(organseg.make_phantom(1, (8, 8, 8)).name)",
               ORGANSEG_SOURCE=served_wheel)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "phantom_0001"
    after = versions(python)
    assert before <= after
    assert {name for name, _, _ in after - before} == {"organseg"}


def test_first_cell_does_nothing_where_organseg_is_installed():
    done = run(Path(sys.executable), tool.setup_cell(), PYTHONPATH=str(ROOT / "lib"), ORGANSEG_SOURCE="no-such-thing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(bool(tool.address()), reason="this copy has an address")
def test_first_cell_says_what_to_do_where_no_address_is_set(python_without_organseg):
    done = run(python_without_organseg, tool.setup_cell())
    assert done.returncode == 1
    assert "NotInstalled: organseg is not installed, and this" in done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(bool(tool.address()), reason="this copy has an address")
def test_in_a_notebook_it_says_so_in_one_line_and_stops_there(python_without_organseg, tmp_path):
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        f"done = InteractiveShell.instance().run_cell({tool.setup_cell()!r})\n"
        "assert type(done.error_in_exec).__name__ == 'NotInstalled'"
    )
    done = run(python_without_organseg, code, IPYTHONDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    assert "On your own computer: run `make lab`." in line and "`make address URL=https://github.com/YOU/" in line
