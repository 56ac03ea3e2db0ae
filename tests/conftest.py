"""What all tests share: no display, no figure left behind, and a line on what was skipped for want of something."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

# Before any test imports matplotlib or TensorFlow, which read these once.
os.environ["MPLBACKEND"] = "Agg"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as organseg sets it: some tests import Keras first

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_terminal_summary(terminalreporter):
    """One line at the end counts the tests that were skipped because something is not there, and says how to get it.

    They are those with a reason like "needs nginx (apt-get install nginx-light)".
    """
    lacking = {}
    for report in terminalreporter.stats.get("skipped", []):
        if found := re.match(r"Skipped: needs (.*)", str(report.longrepr[2])):
            lacking.setdefault(found[1], set()).add(report.nodeid)
    if lacking:
        counts = [f"{len(tests)} for want of {what}" for what, tests in lacking.items()]
        terminalreporter.write_line(f"skipped: {'; '.join(counts)}")


@pytest.fixture(autouse=True)
def no_figure_left_open(request):
    """Fail a test that leaves a figure of pyplot open: the next test would find it."""
    before = _open_figures()
    yield
    left = _open_figures() - before
    for number in left:
        sys.modules["matplotlib.pyplot"].close(number)
    if left:
        pytest.fail(f"{request.node.nodeid} left figure {sorted(left)} of pyplot open; close it there", pytrace=False)


def _open_figures():
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


@pytest.fixture(scope="session")
def shared():
    """The folder ../shared: real scans, and the list of the paper's facts."""
    if not SHARED.is_dir():
        pytest.skip(
            "needs ../shared (a folder of real scans beside this one: ask the maintainers; the rest does without)"
        )
    return SHARED


@pytest.fixture(scope="session")
def vectors():
    """Reference values computed by other software: MONAI, SimpleITK (tests/reference/vectors.json says which)."""
    return json.loads((Path(__file__).parent / "reference" / "vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def nginx():
    """The program of a real web server."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if not program:
        pytest.skip("needs nginx (apt-get install nginx-light)")
    return program


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium (apt-get install chromium)")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync"]  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()
