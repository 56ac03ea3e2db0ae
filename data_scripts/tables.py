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
# The entries of a mapping, and what they hold.
TEXTS = ("image", "dicom", "label", "masks", "unlabelled", "case", "name", "title", "licence", "source", "citation")
OWN = dict.fromkeys(TEXTS, str) | {"parts": list, "others": list} | dict.fromkeys(
    ("organs", "annotated", "patients", "series"), dict
)  # fmt: skip
PLACES = {"label": ["case"], "masks": ["case", "organ"], "name": ["case"]}  # what stands in braces in these
WORDS = {str: "a text in quotes", list: "a list [..]", dict: "a table"}


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
    if mistake := _mistake_in(table):
        raise OrgansegError(f"{options.mapping}: {mistake}; correct it")
    return table


def _mistake_in(table):
    """What is wrong with a mapping, in words, or None."""
    if unknown := sorted(set(table) - set(OWN)):
        return f"found the entry {unknown[0]!r}; expected {', '.join(OWN)}"
    for key, kind in OWN.items():
        if not isinstance(table.get(key, kind()), kind):
            return f"found {key} = {table[key]!r}; expected {WORDS[kind]}"
    for key, kind in (("others", int), ("parts", str)):
        if not all(type(value) is kind for value in table.get(key, ())):
            return f"found {key} = {table[key]!r}; expected a list of {'numbers' if kind is int else 'texts'}"
    if not {"image", "dicom", "unlabelled"} & set(table):
        return "found neither image, dicom nor unlabelled; expected one of them"
    for one, other in (("image", "dicom"), ("label", "masks")):
        if one in table and other in table:
            return f"found both {one} and {other}; expected one of them"
    also = ["part"] if "{part}" in table.get("image", table.get("dicom", "")) else []
    for key, names in PLACES.items():
        text = table.get(key, "".join(f"{{{name}}}" for name in names))
        rest = re.sub(r"\{(" + "|".join(names + also) + r")\}", "", text)
        if set("{}") & set(rest) or not all(f"{{{name}}}" in text for name in names):
            return f"found {key} = {table[key]!r}; expected {' and '.join(f'{{{name}}}' for name in names)} in it"
    for key in ("image", "dicom", "label", "masks", "unlabelled"):
        if table.get(key, "").startswith(("/", "~")) or ":" in table.get(key, ""):
            return f"found {key} = {table[key]!r}; expected a path inside the folder that --from names"
    if ("label" in table or "masks" in table) and not table.get("organs"):
        return "found no [organs]; expected which label is which organ"
    for case, drawn in table.get("annotated", {}).items():
        if not isinstance(drawn, list) or not set(drawn) <= set(table.get("organs", {})):
            return f"found annotated {case} = {drawn!r}; expected a list of the organs under [organs]"
    if wrong := sorted(set(table.get("organs", {})) - set(ORGAN_ID)):
        return f"found the organ {wrong[0]!r}; expected {', '.join(ORGAN_ID)}"
    if table.get("organs") and not {"label", "masks", "unlabelled"} & set(table):
        return "found [organs], but neither label nor masks; expected where the labels lie"
    try:
        re.compile(table.get("case", ""))
    except re.error as error:
        return f"found case = {table['case']!r}, no regular expression ({error}); expected one"
    return _mistake_in_values(table)


def _mistake_in_values(table):
    meaning = {0: "the background"} | {value: "others" for value in table.get("others", ())}
    for organ, value in table.get("organs", {}).items():
        numbers = value if isinstance(value, list) else [value]
        if "masks" in table:
            if not isinstance(value, str):
                return f"found {organ} = {value!r}; expected the name of its mask in quotes"
        elif not numbers or not all(type(number) is int for number in numbers):
            return f"found {organ} = {value!r}; expected a number or a list of numbers"
        for number in numbers:
            if number in meaning:
                return f"found the value {number} for {meaning[number]} and for {organ}; expected one meaning"
            meaning[number] = organ
    return None


def size(count):
    """A number of bytes in words: 38e6 is '38 MB'."""
    unit, name = next(((u, n) for u, n in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if count >= u), (1e3, "kB"))
    return f"{count / unit:.4g} {name}"


def list_of(sets):
    """What --list prints."""
    lines = [f"{'name':24}{'archive':>10}{'cases':>7}  {'licence':14}organs"]
    for name, table in sets.items():
        organs = [organ for organ in ORGAN_ID if organ in table.get("organs", ())]
        named = "all seven" if len(organs) == len(ORGANS) else ", ".join(organs) or "eleven, as small pictures"
        licence = "registration" if "register" in table else table["licence"] + "*" * ("licence_note" in table)
        lines.append(f"{name:24}{size(table['gigabytes'] * 1e9):>10}{table.get('cases', ''):>7}  {licence:14}{named}")
    lines.append(f"{'own':24}{'':>10}{'':>7}  {'':14}what your mapping names (NIfTI or DICOM)")
    notes = [f"* {name}: {table['licence_note']}" for name, table in sets.items() if "licence_note" in table]
    return "\n".join(lines + notes)


def card(name, table):
    """DATASET.md: whose data these are, under which licence, and what was changed."""
    values = {organ: table["organs"][organ] for organ in ORGAN_ID if organ in table.get("organs", {})}
    rows = [f"| {ORGAN_ID[organ]} | {organ} | {_listed(value)} |" for organ, value in values.items()]
    return "\n".join([
        f"# {table.get('title', name)}",
        "",
        f"- Source: {table.get('source', 'scans of your own')}",
        f"- Licence: {table.get('licence', 'not stated: say who may use these scans before you pass them on')}",
        *([f"- On the licence: {table['licence_note']}"] if "licence_note" in table else []),
        f"- To cite: {table.get('citation', 'not stated')}",
        "",
        "Changed by organseg's data_scripts/prepare.py: the files were renamed, images rounded to whole HU, and the "
        "labels below put under other ids; all further labels became 0. Nothing was resampled.",
        "",
        "Label 0 is 'none of the annotated organs'. Which organs a case was annotated for stands in dataset.json, "
        "under annotated_labels; any other organ may hide in 0. Programs that do not read that entry, nnU-Net and "
        "MONAI among them, take 0 for background: give them only cases in which all that they learn is annotated.",
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
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))  # Windows' editors put a mark before it
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise OrgansegError(f"{path}: found no readable TOML ({reason}); expected a table; correct it") from None


def _listed(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
