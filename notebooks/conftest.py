"""Cells tagged `patient` are compared where the sample patient is at hand; elsewhere they are left out, and a line says so."""

import pytest

from organseg.course.patient import at_hand

REASON = "shows the sample patient, who is not here: run organseg.sample_patient() once, with a connection"


def pytest_collection_modifyitems(items):
    if at_hand():
        return
    for item in items:
        if "patient" in getattr(item, "cell", {}).get("metadata", {}).get("tags", []):
            item.add_marker(pytest.mark.skip(reason=REASON))


def pytest_terminal_summary(terminalreporter):
    left_out = [r for r in terminalreporter.stats.get("skipped", []) if REASON in str(r.longrepr)]
    if left_out:
        terminalreporter.write_line(f"left out: {len(left_out)} cells; each {REASON}")
