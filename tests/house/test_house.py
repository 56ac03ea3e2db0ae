"""The library stays small enough to be read, and its core stands alone; the picture of its rooms is up to date."""

import ast
from pathlib import Path

import pytest

import map as picture
import organseg

LIBRARY = Path(__file__).resolve().parents[2] / "lib" / "organseg"
FILES = sorted(LIBRARY.rglob("*.py"))
DEVICE = sorted((LIBRARY / "device").glob("*.py"))  # the core's own room: crops, steps and answers where the network is
CORE = [file for file in FILES if file.parent == LIBRARY and file.name != "__main__.py"] + DEVICE
ROOMS = {file.parent.name for file in LIBRARY.glob("*/__init__.py")}


def source(file):
    return file.read_text(encoding="utf-8")


def length(*files):
    return sum(len(source(file).splitlines()) for file in files)


def test_the_picture_of_the_rooms_is_what_the_code_gives():
    assert source(picture.PICTURE) == picture.drawing(), "run `make map`"


def test_the_picture_has_every_module_of_the_core_and_every_room():
    drawn = source(picture.PICTURE)
    for name in (ROOMS - {"device"}) | {file.stem for file in CORE} - {"__init__"}:
        assert f">{name}<" in drawn


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.stem)
def test_the_core_imports_nothing_from_the_rooms_around_it(file):
    taken = picture.imported(file)
    taken |= {organseg._ROOM_OF[name] for name in taken & set(organseg._ROOM_OF)}  # `from organseg import make_phantom`
    assert not {name.partition(".")[0] for name in taken} & (ROOMS - {"device"})


def test_an_import_from_a_room_would_be_seen(tmp_path):
    seen = {
        "from organseg import show": "show",
        "from organseg.show.slices import overlay_figure": "show.slices",
        "import organseg.phantom": "phantom",
        "def draw():\n    from organseg import make_phantom": "make_phantom",
    }
    for line, name in seen.items():
        (tmp_path / "module.py").write_text(line, encoding="utf-8")
        assert name in picture.imported(tmp_path / "module.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY).with_suffix("")))
def test_a_module_has_at_most_300_lines_and_a_function_50(file):
    assert length(file) <= 300
    functions = [node for node in ast.walk(ast.parse(source(file))) if isinstance(node, ast.FunctionDef)]
    assert not {function.name for function in functions if lines_of_code(function) > 50}


def lines_of_code(function):
    """A function's lines from its `def`, docstring left out: whoever explains more should not have to write less."""
    first = function.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - said


def test_the_core_has_at_most_2630_lines_and_its_room_for_devices_800():
    """Docstrings, examples and blank lines included: a core that grows without end is read by nobody."""
    assert length(*LIBRARY.glob("*.py")) <= 2630
    assert length(*DEVICE) <= 800


def test_what_shows_commands_and_counts_has_at_most_2240_lines_together():
    """The scenery: it may shrink, and what is new in it takes the place of something old."""
    rooms = [file for room in ("show", "command") for file in (LIBRARY / room).glob("*.py")]
    others = [LIBRARY / "course" / f"{name}.py" for name in ("gallery", "costs", "body_level")]
    assert length(*rooms, *others) <= 2240
