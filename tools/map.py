"""Draw the library's rooms from its code, book/images/map.svg: `make map`.

The core's modules stand in the order in which `organseg`'s docstring names them, the way of a scan. An arc leads from a
module to one that it imports; those that the docstring does not name serve all the others, and have no arcs.
"""

import ast
import re
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib" / "organseg"
DEVICE = LIBRARY / "device"  # the core's own room
PICTURE = ROOT / "book" / "images" / "map.svg"
source = partial(Path.read_text, encoding="utf-8")
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" width="760" height="{height}" role="img">
<title>The rooms of organseg</title>
<style>
text {{ font: 14px sans-serif; fill: #1d2733 }} .small {{ font-size: 12px; fill: #4a5868 }} .end {{ text-anchor: end }}
.title {{ font-size: 16px; font-weight: bold }} .page {{ fill: #ffffff }} .room {{ fill: #eef2f7; stroke: #b8c4d2 }}
.module {{ fill: #d3e3f5; stroke: #5b82ad }} .shared {{ fill: #f6ecd2; stroke: #b39a55 }}
path {{ fill: none; stroke: #5b82ad; stroke-width: 1.2 }} .way {{ stroke-width: 3 }}
</style>
<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"
 orient="auto"><polygon points="0,0 8,4 0,8" fill="#5b82ad"/></marker>"""


def lines(*files):
    """Lines of source, to the nearest ten, so that the picture does not change with every edit."""
    return f"{round(sum(len(source(file).splitlines()) for file in files), -1):,}"


def imported(file):
    """The modules of organseg that a file imports, as "geometry" or "show.slices"."""
    found = set()
    for node in ast.walk(ast.parse(source(file))):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("organseg.") for name in found if name.startswith("organseg.")}


def text(x, y, words, kind=""):
    return f'<text class="{kind}" x="{x}" y="{y}">{words}</text>'


def arrow(path, kind=""):
    return f'<path class="{kind}" marker-end="url(#tip)" d="{path}"/>'


def box(kind, x, y, width, height, name, number):
    frame = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    line, title, unit = (y + 25, "title", " lines") if kind == "room" else (y + 20, "", "")
    return [frame, text(x + 12, line, name, title), text(x + width - 12, line, f"{number}{unit}", "end")]


def beside(room, y):
    """A room beside the core, with its modules (those of single chapters left out) and its lower edge."""
    files = [file for file in sorted(room.glob("*.py")) if not re.match("__|chapter_", file.stem)]
    end = y + 58 + 20 * len(files)
    parts = box("room", 500, y, 240, end - y, room.name, lines(*room.glob("*.py")))
    about = re.split("[:,.]", ast.get_docstring(ast.parse(source(room / "__init__.py"))))[0]
    parts += [text(512, y + 45, about, "small"), arrow(f"M500 {y + 20} H461")]
    for line, file in enumerate(files, start=1):
        parts += [text(512, y + 47 + 20 * line, file.stem), text(728, y + 47 + 20 * line, lines(file), "end")]
    return parts, end


def three_abreast(kind, y, title, files):
    """Small modules of the core, in rows of three below a title."""
    parts = [text(40, y, title, "small")]
    for place, (name, file) in enumerate(files.items()):
        parts += box(kind, 40 + 136 * (place % 3), y + 9 + 36 * (place // 3), 128, 30, name, lines(file))
    return parts


def drawing():
    """The picture as SVG."""
    files = {file.stem: file for file in sorted(LIBRARY.glob("*.py")) if not file.stem.startswith("__")}
    named = re.findall(r"`(\w+)`", ast.get_docstring(ast.parse(source(LIBRARY / "__init__.py"))))
    tops = {name: 75 + 42 * place for place, name in enumerate(name for name in named if name in files)}
    shared = [name for name in files if name not in tops]
    end = 75 + 42 * len(tops)
    device = {file.stem: file for file in sorted(DEVICE.glob("*.py")) if not file.stem.startswith("__")}
    below = end + 36 + 36 * -(-len(shared) // 3)
    height = below + 65 + 36 * -(-len(device) // 3)
    parts = [HEAD.format(height=height), f'<rect class="page" width="760" height="{height}" rx="6"/>']
    whole = lines(*LIBRARY.glob("*.py"), *DEVICE.glob("*.py"))
    parts += box("room", 20, 20, 440, height - 40, "the core, on the way of a scan", whole)
    for name, y in tops.items():
        parts += [*box("module", 40, y, 190, 30, name, lines(files[name])), arrow(f"M135 {y - 12} v12", "way")]
        for stop in sorted(tops[other] for other in imported(files[name]) & set(tops)):
            bend = f"{270 + 0.45 * abs(stop - y):.0f}"
            parts.append(arrow(f"M230 {y + 15} C{bend} {y + 15} {bend} {stop + 15} 231 {stop + 15}"))
    parts += three_abreast("shared", end + 25, "shared by all", {name: files[name] for name in shared})
    parts += three_abreast("module", below + 25, "device: where the network computes", device)
    y = 0
    for file in sorted(LIBRARY.glob("*/__init__.py")):
        if file.parent != DEVICE:
            drawn, y = beside(file.parent, y + 20)
            parts += drawn
    parts += [arrow(f"M512 {y + 35} h30", "way"), text(552, y + 39, "the way of a scan", "small")]
    parts += [arrow(f"M512 {y + 57} h30"), text(552, y + 61, "imports", "small"), "</svg>"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
