"""Plant errors in a copy of the library: each must turn a named test red, and the chapter that teaches what it breaks.

    python tests/mutants.py [NAMES] [--tests] [--new]   try all errors, or those of these chapters or with these names
    python tests/mutants.py --check                     run nothing; list the errors that no longer fit the code

The errors are in tests/mutants.toml; what was caught goes into tests/mutants.json, for the ledger of the paper's facts.
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "tests" / "mutants.json"


@dataclass(frozen=True)
class Mutant:
    """One entry of tests/mutants.toml, whose head explains it."""

    behaviour: str
    file: str
    text: str
    becomes: str
    test: str = ""
    chapter: str = ""

    @property
    def targets(self):
        """What must fail: a test, a notebook, or both."""
        test, notebook = f"tests/{self.test}", f"notebooks/{self.chapter}.ipynb"
        return [*([test] if self.test else []), *([notebook] if self.chapter else [])]

    def fingerprint(self, target):
        """The mark of an outcome: the error and the source of its test. Where either changes, the outcome is void.

        The rest of the library takes no part: few changes alter an outcome, and `make mutants` tries them all.
        """
        parts = (self.file, self.text, self.becomes, source_of(target))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


MUTANTS = {
    behaviour: Mutant(behaviour, **entry)
    for behaviour, entry in tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8")).items()
}


def source_of(target):
    """The source of a test function with its decorators, of a test file or of a chapter's text; "" where it is gone."""
    name, _, function = target.partition("::")
    file = (ROOT / name).with_suffix(".py")
    source = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not function:
        return source
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return ""


def syntax_errors(source):
    """What keeps Python from reading a source, in a list of none or one."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return [f"plants what is no Python ({error})"]
    return []


def misfits(chosen):
    """A line for each error that no longer fits: its text is not in the file once, or its test is gone.

    Nor does one that Python cannot read: every test would catch it.
    """
    found = []
    for mutant in chosen:
        file = ROOT / "lib" / "organseg" / mutant.file
        source = file.read_text(encoding="utf-8") if file.is_file() else ""
        if (times := source.count(mutant.text)) != 1:
            found.append(f"{mutant.behaviour}: found {times} times in {mutant.file}, expected once: {mutant.text!r}")
        else:
            found += [
                f"{mutant.behaviour}: {error}" for error in syntax_errors(source.replace(mutant.text, mutant.becomes))
            ]
        found += [f"{mutant.behaviour}: found no {target}" for target in mutant.targets if not source_of(target)]
    return found


# What is on record


def stored():
    """The outcomes on record: behaviour, then target, to whether it was caught and the fingerprint."""
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.is_file() else {}


def caught(mutant, target, outcomes):
    """True or False as on record; None where nothing is, or where the error or its test has changed since."""
    found = outcomes.get(mutant.behaviour, {}).get(target, {})
    return found.get("caught") if found.get("of") == mutant.fingerprint(target) else None


def record(mutant, target, was_caught):
    """Put an outcome on record, and drop those of errors and targets that are no more."""
    outcomes = stored()
    outcomes.setdefault(mutant.behaviour, {})[target] = {"caught": was_caught, "of": mutant.fingerprint(target)}
    kept = {
        behaviour: {target: found[target] for target in sorted(found) if target in MUTANTS[behaviour].targets}
        for behaviour, found in sorted(outcomes.items())
        if behaviour in MUTANTS
    }
    STORE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# Trying


def passes(targets, library):
    """True where tests, or notebooks compared with their stored outputs, pass with the library in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(library)}
    if any(target.endswith(".ipynb") for target in targets):
        command += ["-p", "nbval", "-p", "no:randomly", "@tests/nbval.args"]
        environment["ORGANSEG_PROFILE"] = "fast"
        environment.pop("MPLBACKEND", None)
    done = subprocess.run([*command, *targets], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: a test failed; anything else: none got as far
        sys.exit(f"{' '.join(targets)}: pytest ended with status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


@functools.cache
def refuse_what_fails_as_it_is(targets):
    """Stop where one of these fails on the library as it is: it would catch any error."""
    if targets and not passes(targets, ROOT / "lib"):
        sys.exit(f"on the library as it is, something fails in {' '.join(targets)}; mend that first")


def try_out(mutant, target, folder):
    """Plant the error in a copy of the library, in `folder`, and see whether the target fails there."""
    copy = Path(folder) / "lib"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "organseg" / mutant.file
    file.write_text(file.read_text(encoding="utf-8").replace(mutant.text, mutant.becomes), encoding="utf-8")
    was_caught = not passes((target,), copy)
    record(mutant, target, was_caught)
    print(f"{'caught' if was_caught else 'SURVIVED':9}{mutant.behaviour:46}{target}", flush=True)
    return was_caught


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="chapters or names of errors; all by default")
    parser.add_argument("--tests", action="store_true", help="only those that a test must catch, not a notebook")
    parser.add_argument("--new", action="store_true", help="only those without an outcome on record that still counts")
    parser.add_argument("--check", action="store_true", help="run nothing; list the errors that no longer fit the code")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS.values() if not options.names or {m.chapter, m.behaviour} & set(options.names)]
    if found := misfits(chosen):
        sys.exit("\n".join(found))
    if options.check:
        print(f"{len(chosen)} errors fit the code.")
        return
    outcomes = stored()
    wanted = [
        (mutant, target)
        for mutant in chosen
        for target in mutant.targets
        if not (options.tests and target.endswith(".ipynb")) and not (options.new and caught(mutant, target, outcomes))
    ]
    refuse_what_fails_as_it_is(tuple(dict.fromkeys(t for _, t in wanted if not t.endswith(".ipynb"))))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for mutant, target in wanted:
            if target.endswith(".ipynb"):
                refuse_what_fails_as_it_is((target,))
            found.append(try_out(mutant, target, folder))
    print(f"\n{sum(found)} of {len(found)} caught")
    sys.exit(not all(found))


if __name__ == "__main__":
    main()
