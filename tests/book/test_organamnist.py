"""Chapter 3's optional cells, which a run without the file skips, on a file of OrganAMNIST's layout from prepare.py."""

import jupytext
import matplotlib.pyplot as plt
import numpy as np
from data_sets import organamnist

import organseg
from notebooks import NOTEBOOKS


def test_the_optional_experiment_of_chapter_3_runs_and_learns(tmp_path, monkeypatch, capsys):
    cells = jupytext.read(NOTEBOOKS / "03_cnn.py").cells
    optional = [cell.source for cell in cells if cell.cell_type == "code" and "organamnist" in cell.source]
    assert len(optional) == 4, optional
    file = organamnist(tmp_path / "organamnist.npz", count=500)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {"np": np, "plt": plt, "organseg": organseg, "organamnist": str(file)}
    for source in optional[1:]:  # the first sets the path to None
        exec(source, names)
    assert "{'train': 2000, 'val': 500, 'test': 500}" in capsys.readouterr().out
    assert np.mean(names["answers"] == names["organs"]["test"]) > 0.5  # by chance: 0.09
    assert names["counts"].sum() == 500
