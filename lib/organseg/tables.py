"""The tables of Roth et al. 2018, with the convention that they follow printed below."""

from dataclasses import dataclass

import pandas

from organseg.errors import OrgansegError
from organseg.files import whole_file
from organseg.metrics import MEASURES
from organseg.organs import ORGAN_NAMES

CONVENTION = """\
Convention: an organ absent from truth and prediction is not counted. Missed altogether, or invented
where there is none, it scores Dice 0 and surface Dice 0, and as a distance, which nobody can
measure, the scan's longest diagonal (Avg. found: without these). An organ that was not annotated is
never scored. n: the cases counted."""
NOTES = """\
Total Avg.: the mean of the organ rows, column by column. Over patients: the statistics of each
patient's mean over the organs counted, in all their scans. Std.: of the sample (n − 1)."""
# The columns of the tables, and what pandas calls them.
STATISTICS = {"Avg.": "mean", "Std.": "std", "Min.": "min", "Max.": "max", "n": "count"}
COUNTS = ["n", "missed", "invented"]


def save_scores(scores, path):
    """Write rows of `score_case` (of many cases: `pandas.concat`) as CSV, whole or not at all."""
    with whole_file(path) as aside:
        scores.to_csv(aside, index=False)


@dataclass(frozen=True, repr=False)
class OrganTable:
    """A table in the layout of the paper's Tables 1 and 2: `print` it, or let a notebook show it.

    Attributes
    ----------
    organs : pandas.DataFrame, a row per organ: Avg., Std., Min., Max. (Dice in 0…1, or mm) and n;
        for distances also how many of the n were missed and invented, and the mean of the others
    total : pandas.Series, the "Total Avg." row, see `total_average`
    patients : pandas.Series, the same over patients, each counted with the mean of their organs
    measure : str, the column of the scores
    """

    organs: pandas.DataFrame
    total: pandas.Series
    patients: pandas.Series
    measure: str = "dice"

    @property
    def cells(self):
        """What is printed, rounded: a pandas.DataFrame of str, a row per organ and two below."""
        title, factor = MEASURES[self.measure]
        rows = [self.organs, self.total.to_frame("Total Avg.").T]
        rows = pandas.concat([*rows, self.patients.to_frame("Over patients").T])
        counts = rows.columns.intersection(COUNTS)
        numbers = (factor * rows.drop(columns=counts)).map("{:.1f}".format, na_action="ignore")
        numbers[counts] = rows[counts].map("{:.0f}".format, na_action="ignore")
        numbers.loc["Total Avg.", counts] = ""
        return numbers[rows.columns].astype(object).fillna("–").rename_axis(columns=title)

    def __str__(self):
        return f"{self.cells.to_string(col_space=6)}\n\n{NOTES}\n{CONVENTION}"

    def __repr__(self):
        return f"OrganTable: {MEASURES[self.measure][0]}, {len(self.organs)} organs"

    def _repr_html_(self):
        return f"{self.cells.to_html(border=0)}<p>{NOTES} {CONVENTION}</p>"


def organ_table(scores, measure="dice"):
    """The paper's table of one of the `MEASURES`: average, standard deviation, minimum, maximum, n.

    The paper does not say which standard deviation it prints; this is the sample's (n − 1), and a
    single case has none. `scores` are rows of `score_case` of any number of cases, of old files as
    well: without a patient each case is another, without a diagonal a missed organ costs inf.

    An organ that was missed or invented has no distance. Were it left out, deleting the worst
    predictions would improve the mean; so it costs the scan's longest diagonal, which no distance
    exceeds (Metrics Reloaded asks for the worst value, ToothFairy2 takes the diagonal).

    >>> scores = pandas.DataFrame({"case": ["a", "b"], "organ": "liver", "dice": [0.9, 0.8]})
    >>> print(organ_table(scores).cells.loc["liver"].to_dict())
    {'Avg.': '85.0', 'Std.': '7.1', 'Min.': '80.0', 'Max.': '90.0', 'n': '2'}
    """
    if measure not in MEASURES:
        known = ", ".join(MEASURES)
        raise OrgansegError(f"found measure {measure!r}; expected one of {known}; choose one")
    rows = scores.reset_index(drop=True)
    unknown = {"patient": rows["case"], "diagonal_mm": float("inf"), "outcome": "missed"}
    for column, value in unknown.items():
        rows[column] = rows[column].fillna(value) if column in rows else value
    lost, distance = rows[measure].isna() & (rows["dice"] == 0), measure.endswith("_mm")
    rows["score"] = rows[measure].mask(lost, rows["diagonal_mm"] if distance else 0.0)
    organs = rows.groupby("organ")["score"].agg(**STATISTICS)
    means = rows.groupby("patient")[["score", measure]].mean()
    patients = means["score"].agg(list(STATISTICS.values())).set_axis(list(STATISTICS))
    if distance:
        for outcome in COUNTS[1:]:
            those = lost & (rows["outcome"] == outcome)
            organs[outcome], patients[outcome] = those.groupby(rows["organ"]).sum(), those.sum()
        organs["Avg. found"] = rows.groupby("organ")[measure].mean()
        patients["Avg. found"] = means[measure].mean()
    organs = organs.reindex(ORGAN_NAMES).fillna(dict.fromkeys(COUNTS, 0))
    return OrganTable(organs, total_average(organs), patients, measure)


def total_average(organs):
    """The row "Total Avg." of Tables 1 and 2: the mean of the organ rows, column by column.

    It is no statistic over patients: its "Min." is the mean of the organs' minima.
    """
    return organs.drop(columns=COUNTS, errors="ignore").mean()
