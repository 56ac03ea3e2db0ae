"""What all tests share: quiet libraries, no display, and the reference material beside the checkout."""

import json
import os
import shutil
from pathlib import Path

# Before any test imports matplotlib or TensorFlow, which read these once.
os.environ["MPLBACKEND"] = "Agg"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """The folder ../shared with reference vectors and real scans; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference material in ../shared, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def vectors():
    """Reference values computed by other software: MONAI, SimpleITK (tests/reference/vectors.json says which)."""
    return json.loads((Path(__file__).parent / "reference" / "vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; tests that need one are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium, which is not installed")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync"]  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()
