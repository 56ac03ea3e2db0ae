"""What the tests of `--scheduler` let workers do: it counts itself, and may end its worker as a crash would."""

import os
import signal
import time
from pathlib import Path


def counted(folder, item, lost=0):
    """Twice the item; notes that it was tried, and kills this process the first `lost` times."""
    tried = Path(folder) / f"tried_{item}"
    with tried.open("a", encoding="utf-8") as file:
        file.write("x")
    if len(tried.read_text(encoding="utf-8")) <= lost:
        time.sleep(0.5)  # what this worker did before has been fetched meanwhile
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * item


def third_is_lost(folder, item):
    return counted(folder, item, lost=1 if item == 3 else 0)


def third_kills_all(folder, item):
    return counted(folder, item, lost=100 if item == 3 else 0)


def slow(seconds):
    time.sleep(seconds)
    return seconds
