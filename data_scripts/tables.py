"""The tables of data sets (datasets.toml) and the mapping file of one's own scans."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from organseg import ORGANS, OrgansegError

DATASETS = Path(__file__).with_name("datasets.toml")
ORGAN_ID = {organ.name: organ.id for organ in ORGANS}
# The entries that decide what a prepared file holds.
CONVERSION = ("image", "dicom", "label", "masks", "unlabelled", "case", "name", "parts", "split", "organs", "others")


def read_datasets(path):
    """The tables of datasets.toml, each completed by the one it is `like`."""
    tables = _read_toml(path)
    return {name: tables.get(table.get("like"), {}) | table for name, table in tables.items()}


def dataset(sets, name):
    """One table by its name."""
    if name not in sets:
        raise OrgansegError(f"found the data set {name!r}; expected one of {', '.join(sets)}, own; see --list")
    return sets[name]


def own_table(options):
    """The mapping file for the user's own scans, checked."""
    if not options.mapping or not options.source:
        raise OrgansegError(
            "own: found no --mapping or no --from; expected both; the book's page on data shows a mapping"
        )
    if not Path(options.source).is_dir():
        raise OrgansegError(f"{options.source}: no such folder; expected the scans; check the path")
    table = _read_toml(options.mapping)
    known = {*CONVERSION, "series", "annotated", "patients", "title", "licence", "source", "citation"}
    if unknown := sorted(set(table) - known):
        raise OrgansegError(f"{options.mapping}: found the entry {unknown[0]!r}; expected {', '.join(sorted(known))}")
    if not {"image", "dicom", "unlabelled"} & set(table):
        raise OrgansegError(f"{options.mapping}: found neither image, dicom nor unlabelled; expected one of them")
    organs = {*table.get("organs", ()), *(organ for listed in table.get("annotated", {}).values() for organ in listed)}
    if wrong := sorted(organs - set(ORGAN_ID)):
        raise OrgansegError(f"{options.mapping}: found the organ {wrong[0]!r}; expected {', '.join(ORGAN_ID)}")
    for organ, value in table.get("organs", {}).items():
        numbers = value if isinstance(value, list) else [value]
        if "label" in table and not all(isinstance(number, int) for number in numbers):
            raise OrgansegError(f"{options.mapping}: found {organ} = {value!r}; expected a number or a list of numbers")
        if "masks" in table and not isinstance(value, str):
            raise OrgansegError(
                f"{options.mapping}: found {organ} = {value!r}; expected the name of its mask in quotes"
            )
    try:
        re.compile(table.get("case", ""))
    except re.error as error:
        found = f"case = {table['case']!r}, no regular expression ({error})"
        raise OrgansegError(f"{options.mapping}: found {found}; expected one; correct it") from None
    if ("label" in table or "masks" in table) and not table.get("organs"):
        raise OrgansegError(f"{options.mapping}: found no [organs]; expected which label is which organ; add the table")
    return table


def list_of(sets):
    """What --list prints."""
    lines = [f"{'name':24}{'archive':>10}{'cases':>7}  {'licence':14}organs"]
    for name, table in sets.items():
        size = f"{table['gigabytes']:.3g} GB" if table["gigabytes"] >= 1 else f"{1000 * table['gigabytes']:.0f} MB"
        organs = [organ for organ in ORGAN_ID if organ in table.get("organs", ())]
        named = "all seven" if len(organs) == len(ORGANS) else ", ".join(organs) or "eleven, as small pictures"
        licence = table["licence"] if len(table["licence"]) < 14 else "registration"
        lines.append(f"{name:24}{size:>10}{table.get('cases', ''):>7}  {licence:14}{named}")
    return "\n".join([*lines, f"{'own':24}{'':>10}{'':>7}  {'':14}what your mapping names (NIfTI or DICOM)"])


def card(name, table):
    """DATASET.md: whose data these are, under which licence, and what was changed."""
    values = {organ: table["organs"][organ] for organ in ORGAN_ID if organ in table.get("organs", {})}
    rows = [f"| {ORGAN_ID[organ]} | {organ} | {_listed(value)} |" for organ, value in values.items()]
    return "\n".join([
        f"# {table.get('title', name)}",
        "",
        f"- Source: {table.get('source', 'scans of your own')}",
        f"- Licence: {table.get('licence', 'not stated: say who may use these scans before you pass them on')}",
        f"- To cite: {table.get('citation', 'not stated')}",
        "",
        "Changed by organseg's data_scripts/prepare.py: the files were renamed, images rounded to whole HU, and the "
        "labels below put under other ids; all further labels became background. Nothing was resampled.",
        "",
        "| id here | organ | in the source |",
        "|---|---|---|",
        *rows,
        "",
        *([f"Note: {table['organs_note']}.", ""] if "organs_note" in table else []),
    ])  # fmt: skip


def recipe(table):
    """A short fingerprint of all that decides what a prepared file holds."""
    entries = {key: table[key] for key in CONVERSION if key in table}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:12]


def _read_toml(path):
    try:
        return tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise OrgansegError(f"{path}: found no readable TOML ({reason}); expected a table; correct it") from None


def _listed(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
