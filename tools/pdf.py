"""The whole book as one PDF: `make pdf` (`make pdf SOLUTIONS=no` for the students' site).

Chromium prints each page of the built site in the order of the book's own list of pages; pypdf puts them together behind
a table of contents, with page numbers, bookmarks, and links that lead from page to page inside the file.
ORGANSEG_BROWSER names the browser where it is not called chromium, chromium-browser or google-chrome.
"""

import html
import io
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NullObject

PAPER = {"format": "A4", "print_background": True, "prefer_css_page_size": True}
# Formulas are set and pictures are there; a scroller has drawn its slice.
READY = """async () => {
  await window.MathJax?.startup?.promise;
  document.querySelectorAll("img").forEach(image => image.loading = "eager");
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  const begun = root => root.shadowRoot?.querySelector("output")?.textContent;
  while (![...document.querySelectorAll(".organseg-scroller")].every(begun)) await new Promise(requestAnimationFrame);
}"""
# On paper nothing can be unfolded: solutions are, the cell that sets a notebook up is not. And Chromium writes down the
# places in a page to which a link of the same page leads: here, all of them.
UNFOLD = """() => {
  document.querySelectorAll(".tag_solution details").forEach(fold => fold.open = true);
  const places = document.createElement("div");
  places.style = "position: absolute; top: 0; left: 0; font-size: 1px; color: transparent";
  for (const { id } of document.querySelectorAll(".bd-article [id]"))
    places.append(Object.assign(document.createElement("a"), { href: "#" + encodeURIComponent(id), textContent: "." }));
  document.body.append(places);
}"""


class Printed(NamedTuple):
    address: str
    title: str
    group: str
    reader: PdfReader
    first: int  # its first page in the book, from 0


def open_browser(driver):
    named = os.environ.get("ORGANSEG_BROWSER")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        raise SystemExit("found no browser; install chromium, or name one with: make pdf ORGANSEG_BROWSER=/path/to/it")
    return driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])


def listed_pages(tab, site):
    """Address, title and part of each page, in the order of the list at the side of every page."""
    tab.goto((site / "index.html").as_uri())
    tab.wait_for_selector("nav.bd-links a.reference.internal", state="attached")
    return tab.evaluate("""() => {
      const links = [...document.querySelectorAll("nav.bd-links a.reference.internal")], found = new Map();
      const group = link => link.closest("ul").previousElementSibling?.textContent.trim() ?? "";
      for (const link of links) {
        const address = link.href.split("#")[0];
        if (!found.has(address)) found.set(address, [address, link.textContent.trim(), group(link)]);
      }
      return [...found.values()];
    }""")
