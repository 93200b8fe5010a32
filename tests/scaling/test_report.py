"""The page: complete, escaped, without a network, and of one file."""

import html.parser
import math
import re

import pytest

from jprm.evaluate import Difference, Interval
from jprm.scaling import (
    Facts,
    Figure,
    Headline,
    Report,
    Sample,
    Samples,
    SampleStep,
    Section,
    Series,
    Table,
    Text,
    line_figure,
    render,
    write_report,
)
from jprm.scaling.plots import INK, PALETTE

EVIL = "<script>alert('x')</script>"
NAN = math.nan


def _report(*blocks, **kwargs):
    return Report(kwargs.pop("title", "T"), kwargs.pop("lead", ""), [Section("S", blocks)], **kwargs)


def _svg():
    return line_figure([Series("s", [1, 2], [0.5, 0.6])], x_label="N", y_label="F1")


def _everything(text):
    step = SampleStep(text, True, (1.0,), text, text)
    return Report(
        title=text,
        lead=text,
        command=text,
        headline=[Headline(text, text, text)],
        sections=[
            Section(text, [Text(text), Table([text], [[text]], text, text)]),
            Section(text, [Figure(_svg(), text), Samples([Sample(text, (step,), 0, 0, text)])]),
            Section(text, [Facts({text: text, "many": {text: text}, "long": text * 20})]),
        ],
    )


class _Balance(html.parser.HTMLParser):
    """Open tags, and every attribute value that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data")]

    def handle_startendtag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def test_all_text_is_escaped_and_all_tags_are_closed():
    page = render(_everything(EVIL))
    assert "<script" not in page.lower() and "&lt;script&gt;" in page
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []


def test_nothing_is_fetched():
    page = render(_everything("x"))
    balance = _Balance()
    balance.feed(page)
    assert balance.links and all(link.startswith("#") for link in balance.links)
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_section_has_its_own_anchor():
    report = Report("T", "", [Section("A b", []), Section("A  b!", []), Section("?", [])])
    page = render(report)
    for name in ("a-b", "a-b-2", "section"):
        assert f'<section id="{name}">' in page and f'href="#{name}"' in page


def test_cells():
    row = ["name", 1234567, 0.25, None, NAN, True]
    page = render(_report(Table(list("abcdef"), [row], highlight=[0])))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells == ["name", "1&#8239;234&#8239;567", "0.250", "&ndash;", "&ndash;", "yes"]
    assert "<tr class=mark>" in page
    assert page.count("<td class=num>") == 5


def test_interval_cells_share_a_scale():
    column = [[Interval(0.5, 0.4, 0.6)], [Interval(0.75, 0.7, 0.8)], [Interval(0.1, NAN, NAN)]]
    page = render(_report(Table(["F1"], column)))
    assert "[0.400, 0.600]" in page and page.count('class="whisker"') == 2
    assert re.findall(r'<em style="left:([\d.]+)%', page) == ["25.0", "87.5"]


def test_differences_have_a_sign_and_show_zero():
    page = render(_report(Table(["gain"], [[Difference(0.3, 0.1, 0.5, 0.01)]])))
    assert "+0.300" in page and "[+0.100, +0.500]" in page
    assert '<u style="left:0.0%">' in page
    assert "<u" not in render(_report(Table(["F1"], [[Interval(0.3, 0.1, 0.5)]])))


def test_equal_intervals_do_not_divide_by_zero():
    assert "left:50.0%" in render(_report(Table(["F1"], [[Interval(1.0, 1.0, 1.0)]])))


def test_figures_take_the_colours_of_the_page_and_stand_side_by_side():
    page = render(_report(Figure(_svg(), "one"), Figure(_svg(), "two"), Text("x")))
    assert page.count('<div class="figures">') == 1 and page.count("<figure>") == 2
    body = page[page.index("<body>") :]
    assert "var(--c0)" in body and "var(--ink)" in body
    assert INK not in body and PALETTE[0] not in body
    # Scaled by the page, not fixed in points.
    assert re.search(r'<svg viewBox="[\d. ]+" role="img">', body)


def test_prose():
    page = render(_report(Text("first `code`\n\nsecond")))
    assert "<p>first <code>code</code></p><p>second</p>" in page


def test_facts_fold_what_is_long():
    page = render(_report(Facts({"jax": "0.10.2", "config": {"a.b": 1}})))
    assert "<dt>jax</dt><dd>0.10.2</dd>" in page
    assert "<summary>config</summary><pre>a.b = 1</pre>" in page


def test_ragged_rows_are_noticed():
    with pytest.raises(ValueError, match="zip"):
        render(_report(Table(["a", "b"], [["x", "y"], ["x", "y", "z"]])))


def test_the_same_report_gives_the_same_file(tmp_path):
    path = tmp_path / "report.html"
    for _ in range(2):
        write_report(_everything("x"), path)
        assert path.read_text() == render(_everything("x"))


def test_half_a_character_does_not_break_the_page(tmp_path):
    write_report(_report(Text("half: \ud800"), title="\udfff"), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "half: \\ud800" in page and "<title>\\udfff</title>" in page
