"""Folded cells say what is behind them.

MyST-NB writes "Show code cell content" over a solution and over the cell that sets a notebook up, and names either fold
"Toggle hidden content" for screen readers. Here a cell's tag decides the words, and they are the name too.
"""

import json
from pathlib import Path

WORDS = {"solution": "the solution", "setup": "the set-up of this notebook"}


def name_folds(app, docname, source):
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for tag in WORDS.keys() & cell["metadata"].get("tags", []):
            prompts = {"code_prompt_show": f"Show {WORDS[tag]}", "code_prompt_hide": f"Hide {WORDS[tag]}"}
            cell["metadata"].setdefault("mystnb", {}).update(prompts)
    source[0] = json.dumps(notebook)


def drop_the_other_name(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = context["body"].replace('<summary aria-label="Toggle hidden content">', "<summary>")


def setup(app):
    app.connect("source-read", name_folds)
    app.connect("html-page-context", drop_the_other_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
