"""The whole book as one PDF: `make pdf` (`make pdf SOLUTIONS=no` for the students' site).

Chromium prints each page of the built site in the order of the book's own list of pages; pypdf puts them together
behind a table of contents, with page numbers, bookmarks, and links that lead from page to page inside the file.
ORGANSEG_BROWSER names the browser where it is not called chromium, chromium-browser or google-chrome.
"""

import html
import io
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag

from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NullObject,
    NumberObject,
    TextStringObject,
)

PAPER = {"format": "A4", "print_background": True, "prefer_css_page_size": True}
# Formulas are set and pictures are there; a scroller has drawn its slice.
READY = """async () => {
  await window.MathJax?.startup?.promise;
  document.querySelectorAll("img").forEach(image => image.loading = "eager");
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  const begun = root => root.shadowRoot?.querySelector("output")?.textContent;
  while (![...document.querySelectorAll(".organseg-scroller")].every(begun)) await new Promise(requestAnimationFrame);
}"""
# On paper nothing can be unfolded: here all is, but the cell that sets a notebook up. And Chromium writes down those
# places of a page to which a link of the same page leads: here there is one to each.
UNFOLD = """() => {
  for (const fold of document.querySelectorAll(".bd-article details")) fold.open = !fold.closest(".tag_setup");
  const places = document.createElement("div");
  places.style = "position: absolute; top: 0; left: 0; font-size: 1px; opacity: 0";
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


def print_page(tab, address):
    tab.goto(address)
    tab.evaluate(READY)
    tab.evaluate(UNFOLD)
    return PdfReader(io.BytesIO(tab.pdf(**PAPER, outline=True, tagged=True)))


def print_words(tab, body):
    """A page of our own: the title, the table of contents, the numbers."""
    tab.set_content(f"<!doctype html><html lang=en><meta charset=utf-8><style>{STYLE}</style>{body}")
    return PdfReader(io.BytesIO(tab.pdf(**PAPER)))


STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm }
body { margin: 0; font: 11pt/1.5 sans-serif; color: #000 }
a { display: flex; justify-content: space-between; gap: 2em; color: inherit; text-decoration: none }
h1 { font-size: 30pt; margin: 10mm 0 } h2 { font-size: 11pt; margin: 1em 0 0.2em }
"""
# The numbers are printed on empty pages, which are laid over the book's.
NUMBERS = """<style>
@page { margin: 0 }
div { display: flex; justify-content: space-between; box-sizing: border-box; height: 297mm; padding: 282mm 16mm 0 }
div { break-after: page; font: 8pt/1 sans-serif; color: #555; overflow: hidden } div:last-child { break-after: auto }
</style>"""


def contents(title, pages, offset):
    lines, group = [f"<h1>{html.escape(title)}</h1>"], ""
    for page in pages:
        if page.group != group:
            lines.append(f"<h2>{html.escape(page.group)}</h2>")
            group = page.group
        words = html.escape(page.title)
        lines.append(f'<a href="{page.address}"><span>{words}</span><span>{offset + page.first + 1}</span></a>')
    return "".join(lines)


def numbers(title, pages, offset):
    lines = [NUMBERS, "<div></div>" * offset]
    for page in pages:
        running = html.escape(page.title if page.title == title else f"{title}: {page.title}")
        count = len(page.reader.pages)
        lines += [f"<div><span>{running}</span><span>{offset + page.first + i + 1}</span></div>" for i in range(count)]
    return "".join(lines)


def bind(title, front, pages, numbered):
    """All pages in one file, with bookmarks for the parts, the chapters and their sections."""
    book, parts = PdfWriter(), {}
    book.append(front, import_outline=False)
    for page in pages:
        book.append(page.reader, import_outline=False)
        if page.group and page.group not in parts:
            parts[page.group] = book.add_outline_item(title=page.group, page_number=len(front.pages) + page.first)
        mark(book, page.reader, page.reader.outline, len(front.pages) + page.first, parts.get(page.group))
    for page, number in zip(book.pages, numbered.pages, strict=True):
        page.merge_page(number)
        page.compress_content_streams()
    book.compress_identical_objects()  # each chapter brought the same fonts
    book.add_metadata({"/Title": title})
    book.root_object[NameObject("/Lang")] = TextStringObject("en")
    return book


def mark(book, reader, outline, start, parent):
    last = parent
    for item in outline:
        if isinstance(item, list):
            mark(book, reader, item, start, last)
        else:
            number = start + reader.get_destination_page_number(item)
            last = book.add_outline_item(title=item.title, page_number=number, parent=parent)


def lead(book, front, pages):
    """Make links inside a page, and from page to page, lead to places in the book."""
    places = {}  # where each address, with and without a fragment, lies
    for page in pages:
        start = len(front.pages) + page.first
        places[page.address] = ArrayObject([book.pages[start].indirect_reference, NameObject("/Fit")])
        for name, place in page.reader.named_destinations.items():
            target = book.pages[start + page.reader.get_destination_page_number(place)].indirect_reference
            top = [NullObject(), FloatObject(place.top or 0), NullObject()]
            places[f"{page.address}#{name[1:]}"] = ArrayObject([target, NameObject("/XYZ"), *top])
    relink(book, 0, front, "", places)
    for page in pages:
        relink(book, len(front.pages) + page.first, page.reader, page.address, places)


def relink(book, start, reader, address, places):
    for number, page in enumerate(reader.pages):
        links = ArrayObject()
        for old in page.get("/Annots", []):
            old = old.get_object()
            left, low, right, high = map(float, old["/Rect"])
            if old["/Subtype"] != "/Link" or high - low < 3:  # one of those that UNFOLD added
                continue
            to = old["/A"].get("/URI", "") if "/A" in old else f"{address}#{old['/Dest'][1:]}"
            place = places.get(unquote(to)) or places.get(urldefrag(to)[0])
            link = {"/Type": NameObject("/Annot"), "/Subtype": NameObject("/Link"), "/Rect": old["/Rect"]}
            link["/Border"] = ArrayObject([NumberObject(0)] * 3)
            if place:
                link["/Dest"] = place
            elif to.startswith(("http:", "https:", "mailto:")):
                action = {"/S": NameObject("/URI"), "/URI": TextStringObject(to)}
                link["/A"] = DictionaryObject({NameObject(key): value for key, value in action.items()})
            else:
                continue  # the source of a function, a file to download: it is not in the book
            links.append(book._add_object(DictionaryObject({NameObject(key): value for key, value in link.items()})))
        book.pages[start + number][NameObject("/Annots")] = links


def make(tab, listed):
    """The book of these pages, each an address, a title and a part."""
    pages, first = [], 0
    for address, title, group in listed:
        pages.append(Printed(address, title, group, print_page(tab, address), first))
        first += len(pages[-1].reader.pages)
    title = pages[0].title
    front = print_words(tab, contents(title, pages, 0))
    front = print_words(tab, contents(title, pages, len(front.pages)))  # now it is known how long it is
    numbered = print_words(tab, numbers(title, pages, len(front.pages)))
    book = bind(title, front, pages, numbered)
    lead(book, front, pages)
    return book


def main(site, file):
    from playwright.sync_api import sync_playwright

    if not (site / "index.html").is_file():
        raise SystemExit(f"{site}: found no built book; run `make book` first")
    with sync_playwright() as driver:
        browser = open_browser(driver)
        tab = browser.new_page(color_scheme="light")
        book = make(tab, listed_pages(tab, site))
        browser.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    book.write(file)
    print(f"The book as PDF, {len(book.pages)} pages: {file.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
