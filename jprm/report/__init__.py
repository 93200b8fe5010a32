"""Tables, figures and pages from rows: the one place where a number gets a heading, a line or HTML.

Declare a `Table` with `columns("heading: key | ...")` and give it rows (plain dicts): `print_table` shows it on the
terminal, a page as HTML. Declare a `LineFigure`, whose `Series` come from rows by `series_from_rows`, or a `BarFigure`;
`svg` is the drawing. A `Page` of `Section`s holds them beside `Text`, `Details` and `Cards` of judged solutions, and
`write_page` writes it. The templates are in `templates/`.
"""

from jprm.report.cards import SolutionCard, StepCard, card_of
from jprm.report.figures import BarFigure, LineFigure, Series, series_from_rows, series_of
from jprm.report.pages import Cards, Details, Headline, Page, Section, Text, render, write_page
from jprm.report.tables import Column, Table, columns, print_table, short, shown
