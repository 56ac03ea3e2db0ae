"""From an exercise to the wrong answers that are typical of it, and back.

The page of misconceptions is for instructors; where a site has none, as that for students, nothing is linked. Both
pages name an exercise by its number in a heading: "Exercise 2.1 ★ …" and "2.1 ★ …".
"""

import re

from docutils import nodes

MISCONCEPTIONS, CHAPTERS = "book/misconceptions", "notebooks/"
HEADING = re.compile(r"(?:Exercise )?(\d+\.\d+) ★+ ")


def _exercises(doctree):
    """The sections of exercises on a page, by their numbers."""
    found = [(HEADING.match(part[0].astext()), part) for part in doctree.findall(nodes.section)]
    return {match[1]: part for match, part in found if match}


def collect(app, env):
    env.course_exercises = {
        name: {number: part["ids"][0] for number, part in _exercises(env.get_doctree(name)).items()}
        for name in env.found_docs
        if name.startswith(CHAPTERS) or name == MISCONCEPTIONS
    }
    return []


def link(app, doctree, docname):
    places = app.env.course_exercises
    if MISCONCEPTIONS not in places or docname not in places:
        return
    for number, part in _exercises(doctree).items():
        if docname == MISCONCEPTIONS:
            page, words = next(name for name in places if name != docname and number in places[name]), "In the chapter"
        else:
            page, words = MISCONCEPTIONS, "For instructors: typical wrong answers"
        address = f"{app.builder.get_relative_uri(docname, page)}#{places[page][number]}"
        reference = nodes.reference("", words, refuri=address, internal=True)
        part.insert(1, nodes.paragraph("", "", reference, classes=["to-exercise"]))


def choose(app, pagename, templatename, context, doctree):
    if pagename == MISCONCEPTIONS:
        app.add_js_file("choose.js", loading_method="defer")


def setup(app):
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", link)
    app.connect("html-page-context", choose)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
