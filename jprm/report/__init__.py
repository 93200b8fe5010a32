"""Tables, figures and pages from rows: the one place where a number gets a heading, a line or HTML.

Declare a `Table` with `columns("heading: key | ...")` and give it rows (plain dicts): `print_table` shows it on the
terminal, a page as HTML. Declare a `LineFigure`, whose `Series` come from rows by `series_from_rows`, or a `BarFigure`;
`svg` is the drawing. A `Page` of `Section`s holds them beside `Text`, `Details` and `Items`, judged solutions to
browse; `write_page` writes it, and `server_of` serves pages that change. The templates are in `templates/`.
"""

from jprm.report.figures import MOST_BANDS, MOST_LINES, BarFigure, LineFigure, Series, series_from_rows, series_of
from jprm.report.items import MOST_BYTES, Items, JudgedItem, StepVote, VotedStep, judged_item
from jprm.report.pages import Details, Headline, Page, Section, Text, render, write_page
from jprm.report.server import server_of
from jprm.report.tables import Column, Table, columns, print_table, short, shown
