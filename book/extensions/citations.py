"""Citations in notebooks: authors and year with a link, where JupyterLab and Colab would show {cite} as it stands.

The chapters' texts cite as the book's pages do: {cite}`roth2018`. `tools/notebooks.py` writes each citation into the
notebook as ([Roth et al. 2018](address)). This Sphinx extension turns it back before a page is read, so that the book
has its own citations, which lead to its bibliography.
"""

import re
import unicodedata
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "references.bib"
ACCENTS = {"c": "\N{COMBINING CEDILLA}", '"': "\N{COMBINING DIAERESIS}", "'": "\N{COMBINING ACUTE ACCENT}"}
ROLE = re.compile(r"\{cite\}`([^`]+)`")
LINK = r"\[(?:[^\]]+ )?\d{4}\]\((https?://[^)\s]+)\)"


def read_bibliography(text):
    """The words and the address of each entry, by its key; a field of the file is a line."""
    text = re.sub(r"\{\\(.)\{?(\w)\}?\}", lambda m: m[2] + ACCENTS[m[1]], text)
    found = {}
    for key, body in re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", unicodedata.normalize("NFC", text), re.M | re.S):
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", body, flags=re.M))
        people = [re.sub("[{}]", "", name.split(",")[0]) for name in fields["author"].split(" and ")]
        who = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        found[key] = f"{who} {fields['year']}", _address(fields)
    return found


def _address(fields):
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    preprint = fields.get("eprint") or fields.get("note", "").partition("arXiv:")[2]
    return f"https://arxiv.org/abs/{preprint}" if preprint else fields.get("url", "")


REFERENCES = read_bibliography(BIBLIOGRAPHY.read_text(encoding="utf-8"))
KEYS = {address: key for key, (_, address) in REFERENCES.items()}


def with_links(text):
    """The text with each citation as a notebook shows it."""

    def linked(role):
        links = ["[{}]({})".format(*REFERENCES[key.strip()]) for key in role[1].split(",")]
        return f"({'; '.join(links)})"

    # After the names in the sentence, the year is enough: Roth et al. (2018).
    return re.sub(r"(\b[^\W\d]\w+(?: et al\.| and \w+)?)(\s+\(\[)\1 (?=\d{4}\])", r"\1\2", ROLE.sub(linked, text))


def with_roles(text):
    """The text with each citation as the book's own."""

    def role(links):
        keys = [KEYS.get(address) for address in re.findall(LINK, links[0])]
        return links[0] if None in keys else f"{{cite}}`{','.join(keys)}`"

    return re.sub(rf"\({LINK}(?:; {LINK})*\)", role, text)


def cite(app, docname, source):
    source[0] = with_roles(source[0])


def setup(app):
    app.connect("source-read", cite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
