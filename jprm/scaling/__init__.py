"""From stored votes and losses to curves, laws, figures and one page that shows them.

Enter by `vote_curve(rewards, labels, problem_ids)` for F1 against votes from one stored set,
by `fit_votes` and `fit_power_law` for laws, and by `Report` with `write_report` for report.html;
`line_figure` and `bar_figure` draw its figures. Reads plain data only and never imports JAX.
"""

from jprm.evaluate import best_of_k, maj_at_k, pass_at_k
from jprm.scaling.fits import Fit, fit_power_law, fit_votes
from jprm.scaling.plots import Series, bar_figure, line_figure, series_of, short
from jprm.scaling.report import (
    Facts,
    Figure,
    Headline,
    Report,
    Samples,
    Section,
    Table,
    Text,
    render,
    write_report,
)
from jprm.scaling.samples import Sample, SampleStep, sample_of
from jprm.scaling.vote_curve import VoteCurve, vote_curve

__all__ = [
    "Facts",
    "Figure",
    "Fit",
    "Headline",
    "Report",
    "Sample",
    "SampleStep",
    "Samples",
    "Section",
    "Series",
    "Table",
    "Text",
    "VoteCurve",
    "bar_figure",
    "best_of_k",
    "fit_power_law",
    "fit_votes",
    "line_figure",
    "maj_at_k",
    "pass_at_k",
    "render",
    "sample_of",
    "series_of",
    "short",
    "vote_curve",
    "write_report",
]
