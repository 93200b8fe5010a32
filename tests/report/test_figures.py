"""Figures: the same bytes for the same data, real text, nothing that collides on a page."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from jprm.errors import printable
from jprm.evaluate import Interval
from jprm.report import BarFigure, LineFigure, Series, series_from_rows, series_of, short
from jprm.report.figures import MOST_LINES, PALETTE, _draw

NAN = float("nan")
POINTS = [Interval(0.7, 0.65, 0.75), Interval(0.8, 0.76, 0.84), Interval(0.85, 0.8, 0.9)]


def _lines(name="small", **kwargs):
    law = Series("law", [1, 2, 4], [0.7, 0.8, 0.84], is_fit=True)
    return line_figure([series_of(name, [1, 2, 4], POINTS), law], "votes N", "first-error F1", **kwargs)


def line_figure(series, x_label="x", y_label="y", **kwargs):
    return LineFigure("", x_label, y_label, series, **kwargs).svg


def bar_figure(groups, bars, x_label):
    return BarFigure("", groups, bars, x_label).svg


def _texts(svg):
    root = ElementTree.fromstring(svg)
    return {e.text for e in root.iter("{http://www.w3.org/2000/svg}text")}


def test_lines_carry_their_labels_as_text():
    both = line_figure(
        [series_of("small", [1, 2, 4], POINTS), series_of("large", [1, 2, 4], POINTS)], x_label="votes N", y_label="F1"
    )
    assert {"votes N", "F1", "1", "2", "4", "small", "large"} <= _texts(both)
    assert PALETTE[0] in both and PALETTE[1] in both
    assert "law" not in _texts(_lines())


def test_the_same_data_give_the_same_bytes():
    assert _lines() == _lines()
    assert _lines() != _lines("other")


def test_a_figure_that_is_laid_out_once_is_that_which_is_laid_out_when_it_is_saved(monkeypatch):
    drawn = _lines(), bar_figure(["a", "b"], [("F1", POINTS[:2])], "F1")
    keep = Figure.set_layout_engine
    monkeypatch.setattr(
        Figure, "set_layout_engine", lambda self, *a, **k: None if a == (None,) else keep(self, *a, **k)
    )
    assert (_lines(), bar_figure(["a", "b"], [("F1", POINTS[:2])], "F1")) == drawn


def test_only_ids_that_are_used_remain_and_figures_do_not_share_them():
    first, second = _lines("a"), _lines("b")
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and all(f"#{name}" in first for name in ids[0])
    assert not ids[0] & ids[1]
    assert "<metadata" not in first and first.startswith("<svg")


def test_bands_and_bars_and_missing_intervals():
    assert _lines(bands=True) != _lines(bands=False)
    bare = series_of("bare", [1, 2], [Interval(0.5, NAN, NAN), Interval(0.6, NAN, NAN)])
    svg = line_figure([bare], x_label="x", y_label="y", log_x=10, log_y=True)
    assert "nan" not in svg.lower().replace("nanum", "")


def test_as_many_lines_as_are_drawn_can_be_told_apart():
    axes = Figure().add_subplot()
    for number in range(MOST_LINES):
        _draw(axes, Series(f"s{number}", [1, 2], [0.1, 0.2]), number, bands=False)
    looks = {(line.get_color(), line.get_marker(), str(line._dash_pattern)) for line in axes.lines}
    assert len(looks) == MOST_LINES == 30


def test_many_points_are_ticked_at_powers_of_two():
    ks = list(range(1, 17))
    svg = line_figure([Series("s", ks, [0.5 + k / 100 for k in ks])], x_label="N", y_label="F1")
    assert {"1", "2", "4", "8", "16"} <= _texts(svg) and "7" not in _texts(svg)


def test_bars_show_every_group_and_a_negative_end():
    svg = bar_figure(
        ["code", "no code"],
        [("maj@1", [Interval(0.1, -0.05, 0.2), POINTS[0]]), ("maj@8", [POINTS[1], POINTS[2]])],
        x_label="F1",
    )
    assert {"code", "no code", "maj@1", "maj@8", "F1"} <= _texts(svg)
    alone = bar_figure(["code"], [("", [Interval(0.4, NAN, NAN)])], x_label="F1")
    assert "code" in _texts(alone) and ">nan" not in alone


def test_rows_become_a_line_for_each_name():
    """Sorted by x; rows without the interval are left out, those without ends have no band."""
    rows = [
        {"who": "a", "n": 4, "f1": 0.8, "f1_low": 0.7, "f1_high": 0.9},
        {"who": "b", "n": 1, "f1": 0.5, "f1_low": None, "f1_high": None},
        {"who": "a", "n": 1, "f1": 0.6, "f1_low": 0.5, "f1_high": 0.7},
        {"who": "a", "n": 2, "f1": None},
    ]
    first, second = series_from_rows(rows, "who", "n", "f1")
    assert first == Series("a", [1.0, 4.0], [0.6, 0.8], [0.5, 0.7], [0.7, 0.9])
    assert (second.name, second.y) == ("b", [0.5]) and np.isnan(second.low).all()


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.5, "0.5"), (999, "999"), (1000, "1 k"), (531_200, "531 k"), (1.5e6, "1.5 M"), (2e12, "2 T")]
    + [(999_900, "1 M"), (0, "0"), (-2500, "-2.5 k")],
)
def test_short_numbers(x, text):
    assert short(x) == text


@pytest.mark.parametrize("name", ["$\\frac{$", "a $x$ and $y$", "_hidden", "\x1b[2J", "\ud800", "<b>&"])
def test_names_are_shown_letter_by_letter(name):
    shown = printable(name)
    both = [series_of(name, [1, 2, 4], POINTS), series_of("other", [1, 2, 4], POINTS)]
    lines = line_figure(both, x_label=name, y_label=name)
    bars = bar_figure([name], [(name, POINTS[:1]), ("other", POINTS[:1])], x_label=name)
    for svg, times in ((lines, 3), (bars, 3)):
        texts = [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert [text.lstrip("\u200b") for text in texts].count(shown) == times
