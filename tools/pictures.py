"""Draw the pictures of the book's first page, of its preview and of the README: `make pictures`.

book/images/first_page.png  a phantom that the shipped network has never seen: pixels, the scan, the organs found
_static/preview.png         the same, as other sites show it beside a link to a page of the book
book/images/chapter.png     a chapter, as the built book shows it (needs Chromium)
book/images/try_it.png      the page that runs the network, when it is done with a phantom (needs Chromium, and npm)
"""

import shutil
import threading
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import serve
from organseg import load_run, make_phantom, predict, slice_picture
from organseg.show.slices import best_slice, with_label

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "book" / "images"
PREVIEW = ROOT / "_static" / "preview.png"
SITE = ROOT / "build" / "book" / "_build" / "html"
BLOCK = 8  # voxels a side that the first panel shows as one
FOUND = 0.8  # how much the organs hide the image


def panels():
    """One axial slice three times, without the table below the body: large pixels, the scan, the organs found."""
    run, case = load_run("phantoms"), make_phantom(3003, (128, 128, 128))
    found = with_label(case, predict(run, case))
    scan = with_label(case, None)
    index = best_slice(found.label, "axial")
    body = np.s_[11:75, 8:-8]
    grey, organs = slice_picture(scan, "axial", index)[body], slice_picture(found, "axial", index, FOUND)[body]
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    blocks = grey[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))
    return {"pixels": blocks, "a scan": grey, "seven organs found": organs}


def draw(pictures, file, inches, title=""):
    figure = Figure(figsize=inches, facecolor="black")
    low, high = (0.14, 0.7) if title else (0.02, 0.96)
    for place, (words, rgb) in enumerate(pictures.items()):
        axes = figure.add_axes(((place + 0.02) / len(pictures), low, 0.96 / len(pictures), high))
        axes.imshow(rgb, extent=(0, 7, 0, 4), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(words if title else "", y=-0.17, color="silver", fontsize=16)
    figure.text(0.5, 0.84, title, color="white", fontsize=30, ha="center", va="center")
    figure.savefig(file, dpi=100, pil_kwargs={"optimize": True})


def pages():
    """Pictures of the built book, as a browser shows it from this machine."""
    from playwright.sync_api import sync_playwright

    if not (SITE / "index.html").is_file():
        raise SystemExit(f"{SITE}: found no built book; run `make book` first")
    serving = serve.server(SITE)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{serving.server_port}"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1250, "height": 760})
        page.goto(f"{address}/notebooks/00_welcome.html")
        scroller = page.locator(".organseg-scroller").first
        scroller.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top - 180)")
        page.wait_for_timeout(1000)
        page.screenshot(path=IMAGES / "chapter.png")
        page.goto(f"{address}/book/try_it.html")
        page.click(".phantoms button >> nth=1")
        page.click(".run:enabled")
        page.wait_for_selector("[data-kind=done]", timeout=300_000)
        page.wait_for_timeout(1000)
        page.locator("#try-it").screenshot(path=IMAGES / "try_it.png")
        browser.close()
    serving.shutdown()


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    pictures = panels()
    draw(pictures, IMAGES / "first_page.png", (14, 2.7))
    draw(pictures, PREVIEW, (12, 6.3), "From pixels to organs")
    pages()
