"""What each page of the book says about the book: version, date, licences, where to report an error; and its preview.

Where the repository's address is set (`make address`), this Sphinx extension adds links to edit a page and to report an
error in it, hands out the tag `address` (for `only`) and {{ first_chapter_on_colab }}, and names the site's own address
in the preview that other sites show of a page. The tag `solutions` is on unless the site is made without them.
"""

import os
import re
import time
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote, urlencode

from docutils import nodes

import organseg

TEXT_LICENCE = "https://creativecommons.org/licenses/by/4.0/"
CODE_LICENCE = "https://www.apache.org/licenses/LICENSE-2.0"
PREVIEW = "preview.png"  # of _static, drawn by tools/pictures.py
PREVIEW_WORDS = "A slice of an abdomen three times: as large grey pixels, as a scan, and with seven organs in colour."
LONGEST = 200  # characters of a description
WITH_SOLUTIONS = "book/misconceptions"  # a page that the site for students lacks


def address(config):
    """The repository's address, and its branch or tag; empty where none is set."""
    options = config.html_theme_options
    return (options.get("repository_url") or "").rstrip("/"), options.get("repository_branch") or "main"


def first_chapter_on_colab(config, folder):
    url, branch = address(config)
    colab = (config.html_theme_options.get("launch_buttons") or {}).get("colab_url", "")
    first = next(iter(sorted(folder.glob("[0-9][0-9]_*.ipynb"))), None)
    if not (url and colab and first):
        return ""
    return f"{colab}/github/{url.partition('github.com/')[2]}/blob/{branch}/notebooks/{first.name}"


def prepare(app, config):
    # Jupyter Book puts each script of _static onto each page; these are for some pages only.
    config.html_static_path.append(str(Path(__file__).with_name("scripts")))
    config.templates_path.append(str(Path(__file__).with_name("templates")))
    config.html_theme_options["logo"] = {"text": config.html_title, "alt_text": "Logo"}
    words = ""
    if link := first_chapter_on_colab(config, Path(app.srcdir) / "notebooks"):
        app.tags.add("address")
        words = f"```{{button-link}} {link}\n:color: primary\n:outline:\n\nOpen in Colab\n```"
    config.myst_substitutions |= {"first_chapter_on_colab": words}
    if Path(app.srcdir, f"{WITH_SOLUTIONS}.md").exists():
        app.tags.add("solutions")


# The foot of a page


def source_to_edit(app, pagename):
    """The file that people write, of which a page is made; None if a program wrote it, or it may show solutions."""
    source = Path(app.env.doc2path(pagename))
    if not app.tags.has("solutions"):
        return None
    if source.suffix == ".ipynb":
        return f"{pagename}.py"
    made = re.search("^<!-- made by", source.read_text(encoding="utf-8"), flags=re.IGNORECASE | re.MULTILINE)
    return None if made else f"{pagename}{source.suffix}"


def foot(app, pagename, title):
    built = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    licences = (
        f'Text and figures: <a href="{TEXT_LICENCE}" rel="license">CC BY 4.0</a>. '
        f'Code: <a href="{CODE_LICENCE}" rel="license">Apache License 2.0</a>.'
    )
    lines = [f"Version {organseg.__version__}, built on <time>{built}</time>.", licences]
    url, branch = address(app.config)
    if url:
        links = [("Report an error", f"{url}/issues/new?{urlencode({'title': f'Error on the page “{title}”'})}")]
        if pagename in app.env.found_docs and (source := source_to_edit(app, pagename)):
            links.insert(0, ("Edit this page", f"{url}/edit/{quote(branch)}/{quote(source)}"))
        lines.append(" · ".join(f'<a href="{escape(link)}">{words}</a>' for words, link in links))
    return "".join(f"<p>{line}</p>" for line in lines)


# The preview


def site_address(config):
    """Where the site lies: html.baseurl of _config.yml, or GitHub's pages of the repository; empty if unknown."""
    if config.html_baseurl:
        return config.html_baseurl.rstrip("/") + "/"
    owner, _, name = address(config)[0].partition("github.com/")[2].partition("/")
    home = f"{owner}.github.io".lower()
    return "" if not name else f"https://{home}/" if name.lower() == home else f"https://{home}/{name}/"


def preview(app, pagename, title, doctree):
    paragraphs = doctree.findall(nodes.paragraph) if doctree else ()
    words = " ".join(next((found.astext() for found in paragraphs), app.config.html_title).split())
    if len(words) > LONGEST:
        words = f"{words[:LONGEST].rpartition(' ')[0]} …"
    told = {"og:type": "website", "og:site_name": app.config.html_title, "og:title": title, "og:description": words}
    if site := site_address(app.config):
        told |= {"og:url": f"{site}{app.builder.get_target_uri(pagename)}", "og:image": f"{site}_static/{PREVIEW}"}
        told |= {"og:image:alt": PREVIEW_WORDS}
    tags = [f'<meta property="{name}" content="{escape(value)}" />' for name, value in told.items()]
    tags.append(f'<meta name="description" content="{escape(words)}" />')
    tags.append('<meta name="twitter:card" content="summary_large_image" />')
    return "\n".join(tags)


def tell(app, pagename, templatename, context, doctree):
    title = unescape(re.sub("<[^>]+>", "", context.get("title") or app.config.html_title))  # Sphinx hands over HTML
    context["theme_extra_footer"] = foot(app, pagename, title)
    context["metatags"] = f"{context.get('metatags', '')}\n{preview(app, pagename, title, doctree)}"
    if pagename == "search":
        app.add_js_file("excerpts.js", loading_method="defer")


# What a page loads


def without_formulas(app, pagename, templatename, context, doctree):
    """The first page counts as one with formulas, because a page below it has some."""
    if 'class="math' not in context.get("body", "") and "script_files" in context:
        context["script_files"] = [file for file in context["script_files"] if "mathjax" not in str(file)]


def without_second_icons(app, error):
    """The theme's icons come with its style sheet, and once more as a script of 1.5 MB."""
    icons = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if error is None and icons.is_file():
        icons.write_text("// The icons of the style sheet do.\n", encoding="utf-8")


def setup(app):
    app.connect("config-inited", prepare, priority=100)  # before MyST reads its settings
    app.connect("html-page-context", tell)
    app.connect("html-page-context", without_formulas, priority=900)  # after Sphinx has added its scripts
    app.connect("build-finished", without_second_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
