"""The examples in the docstrings of the library: they are true, and every public function has one."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import organseg

LIBRARY = Path(organseg.__file__).parent
NAMES = [
    "organseg",
    *(".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts) for file in LIBRARY.rglob("*.py")),
]
MODULES = sorted(name.removesuffix(".__init__") for name in NAMES if not name.endswith("__main__"))
SEEN_ELSEWHERE = "for an example"  # "See `load_case` for an example."


@pytest.mark.parametrize("name", sorted(set(MODULES)))
def test_the_examples_of_a_module_are_true(name):
    assert not doctest.testmod(import_module(name)).failed


@pytest.mark.parametrize("name", [name for name in organseg.__all__ if inspect.isfunction(getattr(organseg, name))])
def test_a_public_function_has_an_example(name):
    said = inspect.getdoc(getattr(organseg, name))
    assert ">>> " in said or SEEN_ELSEWHERE in said
