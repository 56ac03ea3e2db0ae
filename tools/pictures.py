"""Draw the pictures of the book's first page and of the README: `make pictures`.

book/images/prediction.png  truth and prediction on a phantom that the shipped network has never seen
book/images/chapter.png     a chapter, as the built book shows it (needs Chromium)
"""

import shutil
from pathlib import Path

from organseg import load_run, make_phantom, predict, save_overlay

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "book" / "images"
CHAPTER = ROOT / "build" / "book" / "_build" / "html" / "notebooks" / "00_welcome.html"


def prediction():
    run, case = load_run("phantoms"), make_phantom(3003, (128, 128, 128))
    save_overlay(case, predict(run, case), IMAGES / "prediction.png")


def chapter():
    from playwright.sync_api import sync_playwright

    if not CHAPTER.is_file():
        raise SystemExit(f"{CHAPTER}: found no built chapter; run `make book` first")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1250, "height": 760})
        page.goto(CHAPTER.as_uri())
        scroller = page.locator(".organseg-scroller").first
        scroller.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top - 180)")
        page.wait_for_timeout(1000)
        page.screenshot(path=IMAGES / "chapter.png")
        browser.close()


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    prediction()
    chapter()
