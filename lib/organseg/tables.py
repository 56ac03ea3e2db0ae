"""The tables of Roth et al. 2018 from the scores of any number of cases, with their convention
printed below."""

from dataclasses import dataclass

import numpy as np
import pandas

from organseg.errors import OrgansegError
from organseg.files import whole_file
from organseg.metrics import MEASURES
from organseg.organs import ORGAN_NAMES

CONVENTION = (
    "Convention: an organ absent from truth and prediction is not counted; absent from the truth but predicted,\n"
    "or missed altogether, it scores Dice 0 and its surface measures are not counted; an organ that was not\n"
    "annotated is never scored. n: the cases counted."
)
NOTES = (
    "Total Avg.: the mean of the organ rows, column by column. Over patients: the statistics of each patient's\n"
    "mean over the organs counted. Std.: of the sample (n − 1)."
)
STATISTICS = {
    "Avg.": "mean",
    "Std.": "std",
    "Min.": "min",
    "Max.": "max",
    "n": "count",
}  # columns of the tables


def save_scores(scores, path):
    """Write the rows of `score_case` (of many cases: `pandas.concat`) as CSV; the file appears
    whole or not at all."""
    with whole_file(path) as aside:
        scores.to_csv(aside, index=False)


@dataclass(frozen=True, repr=False)
class OrganTable:
    """A table in the layout of the paper's Tables 1 and 2: `print` it, or let a notebook show it.

    Attributes
    ----------
    organs : pandas.DataFrame, a row per organ: Avg., Std., Min., Max. (Dice in 0…1, distances in
        mm) and n
    total : pandas.Series, the "Total Avg." row, see `total_average`
    patients : pandas.Series, the same statistics over patients, each counted with the mean of his
        or her organs
    measure : str, the column of the scores
    """

    organs: pandas.DataFrame
    total: pandas.Series
    patients: pandas.Series
    measure: str = "dice"

    def __str__(self):
        title, factor = MEASURES[self.measure]
        lines = [_line(title, STATISTICS)]
        lines += [_line(name, _numbers(row, factor)) for name, row in self.organs.iterrows()]
        lines += [_line("Total Avg.", _numbers(self.total, factor)), ""]
        lines += [_line("Over patients", _numbers(self.patients, factor)), ""]
        return "\n".join([*lines, NOTES, CONVENTION])

    def __repr__(self):
        return f"OrganTable: {MEASURES[self.measure][0]}, {len(self.organs)} organs"

    def _repr_html_(self):
        title, factor = MEASURES[self.measure]
        rows = [
            *self.organs.iterrows(),
            ("Total Avg.", self.total),
            ("Over patients", self.patients),
        ]
        body = "".join(_html_row(name, _numbers(row, factor)) for name, row in rows)
        head = "".join(f'<th scope="col">{cell}</th>' for cell in (title, *STATISTICS))
        words = " ".join(f"{NOTES} {CONVENTION}".split())
        return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{words}</p>'


def organ_table(scores, measure="dice"):
    """The paper's table of one measure: average, standard deviation, minimum, maximum and n of each
    organ.

    The paper does not say which standard deviation it prints; this is the sample's (n − 1), and a
    single case has none.

    Parameters
    ----------
    scores : pandas.DataFrame, the rows of `score_case` of any number of cases
    measure : one of `MEASURES`

    Returns
    -------
    OrganTable
    """
    if measure not in MEASURES:
        raise OrgansegError(
            f"found measure {measure!r}; expected one of {', '.join(MEASURES)}; choose one"
        )
    organs = (
        scores.groupby("organ")[measure].agg(**STATISTICS).reindex(ORGAN_NAMES).fillna({"n": 0})
    )
    patients = (
        scores.groupby("case")[measure]
        .mean()
        .agg(list(STATISTICS.values()))
        .set_axis(list(STATISTICS))
    )
    return OrganTable(organs, total_average(organs), patients, measure)


def total_average(organs):
    """The "Total Avg." row of Tables 1 and 2: the unweighted mean of the organ rows, column by
    column.

    It is no statistic over patients: its "Min." is the mean of the organs' minima. Organs without
    number are left out.
    """
    return organs.drop(columns="n", errors="ignore").mean()


def _line(label, cells):
    return f"{label:<20}" + "".join(f"{cell:>7}" for cell in cells)


def _html_row(label, cells):
    cells = [*cells, *[""] * (len(STATISTICS) - len(cells))]  # the total has no n
    numbers = "".join(f'<td class="score">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{label}</th>{numbers}</tr>'


def _numbers(row, factor):
    numbers = [
        "–" if np.isnan(value) else f"{value * factor:.1f}"
        for value in row.drop("n", errors="ignore")
    ]
    return numbers + [f"{row['n']:.0f}"] if "n" in row else numbers
