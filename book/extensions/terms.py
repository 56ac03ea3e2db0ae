"""The glossary and the reference, linked from the chapters.

Where a term of the glossary first stands in a chapter's prose, it becomes a link with the definition as its title
(`terms.js` shows that to fingers and keys too), and the glossary says which chapters use it, with the way back.
`organseg.name` in a chapter leads to the name's entry in the reference. A chapter's other spellings of its terms become
its keywords, so that the search finds it by any of them. All this is done on the pages; the notebooks stay as they are.
"""

import re
from typing import NamedTuple

from docutils import nodes
from sphinx import addnodes

GLOSSARY, CHAPTERS = "book/glossary", "notebooks/"
PAGES = "book/data", "book/larger", "book/patients"  # they use terms too
# Within these a word is no prose, or a link already.
CLOSED = (
    nodes.title, nodes.rubric, nodes.literal, nodes.literal_block, nodes.reference, nodes.figure, nodes.caption,
    nodes.math, nodes.math_block, nodes.raw, nodes.comment, addnodes.pending_xref,
)  # fmt: skip
# Where these words mean what they mean in everyday English, and not what the glossary says.
EVERYDAY = re.compile(
    r"\bin (?:any|this|that|each|every|which|some|many|other) cases?|\bin case|cases in which|(?:the|extreme) case\b"
    r"|(?<!its\s)(?<!the\s)\breach(?:es)?|(?:network|it) labels|live kernel|margin around|Nesterov\W+s\W+momentum",
    flags=re.IGNORECASE,
)
OTHER_SENSE = {"window": ("02", "04")}  # chapters in which a word means something else throughout
PUBLIC = re.compile(r"organseg\.(?:\w+\.)*(\w+)(?:\(.*\))?", flags=re.DOTALL)
DOCUMENTED = ("function", "class", "data", "exception")


class Term(NamedTuple):
    id: str
    names: tuple
    definition: str


def read_glossary(doctree):
    """The entries of the glossary, each with all its names."""
    return [
        Term(
            item[0]["ids"][0],
            tuple(name.astext() for name in item.findall(nodes.term)),
            " ".join(next(item.findall(nodes.definition)).astext().split()),
        )
        for item in doctree.findall(nodes.definition_list_item)
    ]


def pattern(terms):
    """Finds any name of these terms, longer ones first, in singular and plural, across the ends of lines."""
    names = {}
    for number, term in enumerate(terms):
        for name in term.names:
            short, _, more = name.partition(" (")
            for one in (short, more.rstrip(")") if more.rstrip(")").isupper() else ""):
                if one:
                    names[one] = number
    found = [f"(?P<t{names[name]}_{place}>{_spelt(name)})" for place, name in enumerate(sorted(names, key=len)[::-1])]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(found)})(?![\w-])")


def _spelt(name):
    words = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]", name)))
    if not re.search("[A-Z]", name):
        words = f"[{words[0]}{words[0].upper()}]{words[1:]}"
    return f"{words[:-1]}(?:y|ies)" if words.endswith("y") else f"{words}(?:e?s)?"


def first_uses(doctree, terms, docname):
    """For each term that the prose of a page uses: the text, and where in it the term first stands."""
    find, found = pattern(terms), {}
    for text in _prose(doctree):
        everyday = [match.span() for match in EVERYDAY.finditer(text)]
        for match in find.finditer(text):
            number = int(match.lastgroup[1:].partition("_")[0])
            other = docname.removeprefix(CHAPTERS)[:2] in OTHER_SENSE.get(terms[number].names[0], ())
            if not (other or any(start <= match.start() < end for start, end in everyday)):
                found.setdefault(number, (text, match.span()))
    return found


def _prose(node):
    if isinstance(node, nodes.Text):
        yield node
    elif not isinstance(node, CLOSED) and not {"cell_input", "cell_output"} & set(node["classes"]):
        for child in node.children:
            yield from _prose(child)


def collect(app, env):
    """Before any page is written: which chapter uses which terms."""
    env.course_terms, env.course_uses = [], {}
    if GLOSSARY in env.found_docs:
        env.course_terms = read_glossary(env.get_doctree(GLOSSARY))
        for name in [*sorted(name for name in env.found_docs if name.startswith(CHAPTERS)), *PAGES]:
            env.course_uses[name] = sorted(first_uses(env.get_doctree(name), env.course_terms, name))
    return []


def link(app, doctree, docname):
    if docname in app.env.course_uses:
        _link_terms(app, doctree, docname)
        _link_names(app, doctree, docname)
    elif docname == GLOSSARY and app.env.course_terms:
        _link_back(app, doctree)


def _link_terms(app, doctree, docname):
    terms = app.env.course_terms
    places = {}
    for number, (text, span) in first_uses(doctree, terms, docname).items():
        places.setdefault(text, []).append((span, terms[number]))
    for text, found in places.items():
        pieces, end = [], 0
        for (start, stop), term in sorted(found):
            address = f"{app.builder.get_relative_uri(docname, GLOSSARY)}#{term.id}"
            reference = nodes.reference(
                "", str(text[start:stop]), refuri=address, internal=True, classes=["term"], ids=[_use(term)]
            )
            reference["reftitle"] = term.definition
            pieces += [nodes.Text(text[end:start]), reference]
            end = stop
        text.parent.replace(text, [*pieces, nodes.Text(text[end:])])
    others = {word for number in app.env.course_uses[docname] for name in terms[number].names for word in name.split()}
    doctree.insert(0, nodes.meta("", name="keywords", content=", ".join(sorted(others))))


def _use(term):
    return f"use-of-{term.id}"


def _link_names(app, doctree, docname):
    known = {
        name.rpartition(".")[2]: (entry.docname, entry.node_id)
        for name, entry in app.env.get_domain("py").objects.items()
        if name.startswith("organseg.") and entry.objtype in DOCUMENTED
    }
    for literal in list(doctree.findall(nodes.literal)):
        match = PUBLIC.fullmatch(literal.astext())
        if match and match[1] in known and not isinstance(literal.parent, nodes.reference):
            page, place = known[match[1]]
            address = f"{app.builder.get_relative_uri(docname, page)}#{place}"
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=address, internal=True))


def _link_back(app, doctree):
    env = app.env
    for number, item in enumerate(doctree.findall(nodes.definition_list_item)):
        line = nodes.paragraph("", classes=["used-in"])
        for name in (name for name, used in env.course_uses.items() if number in used):
            title = env.titles[name].astext()
            chapter = re.match(r"\d+(?=\. )", title)
            address = f"{app.builder.get_relative_uri(GLOSSARY, name)}#{_use(env.course_terms[number])}"
            line += nodes.Text(", " if line.children else "Used in: ")
            words = f"chapter {chapter[0]}" if chapter else title.partition(":")[0]
            line += nodes.reference("", words, refuri=address, internal=True, reftitle=title)
        next(item.findall(nodes.definition)).append(line)


def setup(app):
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", link, priority=900)  # when all other links are there
    app.add_js_file("terms.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
