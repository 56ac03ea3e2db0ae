"""What people's files do to the commands: what is said, what is not destroyed, and the page that shows it."""

import re

import pytest
import situations
from situations import SITUATIONS, call, line_of


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_situation_is_told_in_a_line_and_destroys_nothing(situation, tmp_path):
    situation.build(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, said = call(situation.command, tmp_path)
    assert status == situation.status and "Traceback" not in said, said
    assert line_of(situation, said), said
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_page_shows_every_situation_with_what_is_said():
    page = situations.PAGE.read_text(encoding="utf-8")
    for situation in SITUATIONS:
        _, _, part = page.partition(f"## {situation.name}\n")
        part = " ".join(part.partition("\n## ")[0].split())
        assert f"$ organseg {situation.command} " in part, "run `make situations`"
        assert re.search(situation.says, part) and situation.advice in part, "run `make situations`"
