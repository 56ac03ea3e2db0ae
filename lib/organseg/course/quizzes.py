"""Questions between the sections: a guess before the reader goes on, and every choice answers.

`quiz("2a")` shows the questions at the first place of chapter 2. All of them are in quizzes.toml,
whose head says how to write one. A choice is an HTML <details>: it opens by mouse, finger or
keyboard and needs no script, so a page of the book, Colab and a notebook that Jupyter does not
trust yet show the same, and a print shows the questions without the answers.

    python -m organseg.course.quizzes > questions.gift     for Moodle and other question banks
"""

import html
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("quizzes.toml")
FRAME = "border: 1px solid gray; margin: 0 0 1em; padding: 0.4em 1em 0.6em"
HEAD = "font-size: inherit; margin: 0; padding: 0.2em 0.3em"
CHOICE = "clear: both; padding: 0.2em 0.3em"
WHY = "margin: 0.2em 1.1em 0.4em"


class Choice(NamedTuple):
    """One answer to choose, whether it is right, and the sentence that it opens."""

    verdict: str  # "yes" or "no"
    says: str
    why: str

    @property
    def right(self):
        return self.verdict == "yes"


class Question(NamedTuple):
    ask: str
    choices: tuple


@cache
def read_quizzes():
    """The words around the questions, and the questions of each place.

    >>> words, places = read_quizzes()
    >>> sorted(words), "2a" in places
    (['guess', 'no', 'yes'], True)
    """
    places = tomllib.loads(FILE.read_text(encoding="utf-8"))
    words = places.pop("words")
    return words, {place: tuple(map(_question, asked)) for place, asked in places.items()}


def _question(stored):
    return Question(stored["ask"], tuple(Choice(*choice) for choice in stored["choices"]))


class Quiz:
    """The questions of one place, as a notebook shows them."""

    def __init__(self, place, questions, words):
        self.place, self.questions, self.words = place, questions, words

    def __repr__(self):
        return f"<quiz {self.place}>"

    def _repr_html_(self):
        asked = "".join(map(self._asked, self.questions))
        head = f"<p><strong>{self.words['guess']}</strong></p>"
        return f'<div class="organseg-quiz">\n{head}\n{asked}</div>'

    def _asked(self, question):
        choices = "\n".join(map(self._choice, question.choices))
        head = f'<legend style="{HEAD}">{_shown(question.ask)}</legend>'
        return f'<fieldset style="{FRAME}">\n{head}\n{choices}\n</fieldset>\n'

    def _choice(self, choice):
        said = f"<strong>{self.words[choice.verdict]}</strong> {_shown(choice.why)}"
        head = f"<summary>{_shown(choice.says)}</summary>"
        return f'<details style="{CHOICE}">{head}<p style="{WHY}">{said}</p></details>'


def _shown(text):
    """The text in HTML, with code between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def quiz(place):
    """The questions of a place, to be the last line of a cell.

    Parameters
    ----------
    place : str, the chapter and a letter, e.g. "2a"

    Examples
    --------
    >>> quiz("2a")
    <quiz 2a>
    """
    words, places = read_quizzes()
    if place not in places:
        raise ValueError(f"found no quiz {place!r}; expected one of {', '.join(places)}")
    return Quiz(place, places[place], words)


def gift():
    """All questions in the GIFT format, which Moodle and other question banks read.

    >>> print(gift()[:21])
    ::0a.1:: Truth and pr
    """
    return "\n\n".join(
        _gift(f"{place}.{number}", question)
        for place, asked in read_quizzes()[1].items()
        for number, question in enumerate(asked, 1)
    )


def _gift(name, question):
    choices = [
        f"{'=' if choice.right else '~'}{_escaped(choice.says)}#{_escaped(choice.why)}"
        for choice in question.choices
    ]
    return "\n".join([f"::{name}:: {_escaped(question.ask)} {{", *choices, "}"])


def _escaped(text):
    return re.sub(r"([~=#{}:\\])", r"\\\1", text)


if __name__ == "__main__":
    print(gift())
