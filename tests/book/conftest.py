"""What the tests of the book share."""

import contextlib
import functools
import http.server
import os
import shutil
import threading

import pytest
from building import build, with_address

import notebooks as tool
import teaching
import try_it

PARTS = ("_config.yml", "_toc.yml", "_static", "book", "notebooks")


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of what the book is built from, without an address, with the pages that `make book` makes first."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        there = shutil.copytree if (tool.ROOT / part).is_dir() else shutil.copy
        there(tool.ROOT / part, copy / part)
    with_address(copy, "")  # a fork has one
    teaching.write(copy / "book")
    # What else may lie there must not become a page, nor a warning that ends `make book`.
    for other in (".venv/lib/some_package", ".github", "build/student"):
        (copy / other).mkdir(parents=True)
        (copy / other / "page.md").write_text("# Stray\n\n```{bibliography}\n:all:\n```\n", encoding="utf-8")
    return copy


@pytest.fixture(scope="session")
def book(project, tmp_path_factory):
    """The built site; processes that run tests side by side build it once."""
    pytest.importorskip("jupyter_book", reason="needs jupyter-book, which is not among Colab's packages")
    filelock = pytest.importorskip("filelock")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    site, built = shared / "built_book" / "_build" / "html", shared / "built_book.done"
    with filelock.FileLock(shared / "built_book.lock"):
        if not built.exists():
            done, _ = build(project, shared / "built_book")
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
            built.touch()
    return site


@pytest.fixture(scope="session")
def npm_packages(tmp_path_factory):
    """The folder of the npm packages of tools/browser; processes that run side by side fetch them once."""
    filelock = pytest.importorskip("filelock")
    if shutil.which("npm") is None:
        pytest.skip("needs npm (Node.js)")
    try_it.KEPT.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(try_it.KEPT / "fetched.lock"):
        packages, missing = try_it.fetch()
    assert not missing, missing
    return packages


@pytest.fixture(scope="session")
def served(book):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            """A failing test's report would be all addresses."""

    handler = functools.partial(Handler, directory=str(book))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def context(browser):
    """Its pages share what they have loaded."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context, served):
    with noting(context, served) as page:
        yield page


@contextlib.contextmanager
def noting(context, served):
    """A page that notes its errors and what it asks for from elsewhere."""
    page = context.new_page()
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((served, "data:", "blob:")) else page.wrong.append(r.url))
    yield page
    page.close()
