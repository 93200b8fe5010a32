"""The page: complete, escaped, without a network, and of one file."""

import html.parser
import math
import re

from jprm.evaluate import Interval, interval_row
from jprm.report import (
    BarFigure,
    Column,
    Details,
    Headline,
    Items,
    JudgedItem,
    LineFigure,
    Page,
    Section,
    Series,
    StepVote,
    Table,
    Text,
    VotedStep,
    render,
    write_page,
)
from jprm.report.figures import INK, PALETTE

EVIL = "<script>alert('x')</script>"
NAN = math.nan


def _page(*blocks, **kwargs):
    return Page(kwargs.pop("title", "T"), kwargs.pop("lead", ""), [Section("S", blocks)], **kwargs)


def _figure(caption):
    return LineFigure(caption, "N", "F1", [Series("s", [1, 2], [0.5, 0.6])])


def _column(kind, *intervals):
    return Table("", [Column("head", "x", kind)], [interval_row("x", at) for at in intervals])


def _everything(text):
    step = VotedStep(text, True, (StepVote(0, True, 1.0, text, text),))
    table = Table(text, [Column(text, "x")], [{"x": text, "set off": True}], text, "set off")
    bars = BarFigure(text, [text], [(text, [Interval(0.5, 0.4, 0.6)])], text)
    return Page(
        title=text,
        lead=text,
        command=text,
        below=text,
        headline=[Headline(text, text, text)],
        sections=[
            Section(text, [Text(text), table, bars]),
            Section(text, [_figure(text), Items(text, [JudgedItem(text, text, text, 0, 1, (step,))])]),
            Section(text, [Details({text: text, "many": {text: text}, "long": text * 20})]),
        ],
    )


class _Balance(html.parser.HTMLParser):
    """Open tags, and every attribute value that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input"):
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data")]

    def handle_startendtag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def test_all_text_is_escaped_and_all_tags_are_closed():
    page = render(_everything(EVIL))
    assert page.count("<script") == 2 and EVIL not in page and "&lt;script&gt;" in page
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []


def test_nothing_is_fetched():
    page = render(_everything("x"))
    balance = _Balance()
    balance.feed(page)
    assert balance.links and all(link.startswith(("#", "data:text/")) for link in balance.links)
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_section_has_its_own_anchor():
    page = render(Page("T", "", [Section("A b", []), Section("A  b!", []), Section("?", [])]))
    for name in ("a-b", "a-b-2", "section"):
        assert f'<section id="{name}">' in page and f'href="#{name}"' in page


def test_cells():
    row = {"a": "name", "b": 1234567, "c": 0.25, "d": None, "e": NAN, "f": True, "g": 0.125, "h": 1.5e9}
    columns = [Column(key, key, "share" if key == "g" else "plain") for key in row]
    page = render(_page(Table("", columns, [row], highlight="a")))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells == ["name", "1\u202f234\u202f567", "0.250", "&ndash;", "&ndash;", "yes", "12.5%", "1.5 G"]
    assert '<tr class="mark">' in page
    assert page.count('<td class="num">') == 7


def test_interval_cells_share_a_scale():
    column = _column("interval", Interval(0.5, 0.4, 0.6), Interval(0.75, 0.7, 0.8), Interval(0.1, NAN, NAN))
    page = render(_page(column))
    assert "[0.400, 0.600]" in page and page.count('class="whisker"') == 2
    assert re.findall(r'<em style="left:([\d.]+)%', page) == ["25.0", "87.5"]
    assert "<b>0.100</b> (no interval)" in page


def test_differences_have_a_sign_and_show_zero():
    page = render(_page(_column("difference", Interval(0.3, 0.1, 0.5))))
    assert "+0.300" in page and "[+0.100, +0.500]" in page
    assert '<u style="left:0.0%">' in page
    assert "<u" not in render(_page(_column("interval", Interval(0.3, 0.1, 0.5))))


def test_numbers_of_any_size_have_no_common_scale():
    page = render(_page(_column("size", Interval(1.2e9, 1e9, 1.5e9), Interval(2e6, 1e6, 3e6))))
    assert "<b>1.2 G</b> [1 G, 1.5 G]" in page and "whisker" not in page[page.index("<body>") :]


def test_equal_intervals_do_not_divide_by_zero():
    assert "left:50.0%" in render(_page(_column("interval", Interval(1.0, 1.0, 1.0))))


def test_figures_take_the_colours_of_the_page_and_stand_side_by_side():
    page = render(_page(_figure("one"), _figure("two"), Text("x")))
    assert page.count('<div class="figures">') == 1 and page.count("<figure>") == 2
    body = page[page.index("<body>") :]
    assert "var(--c0)" in body and "var(--ink)" in body
    assert INK not in body and PALETTE[0] not in body
    # Scaled by the page, not fixed in points.
    assert re.search(r'<svg viewBox="[\d. ]+" role="img">', body)


def test_prose():
    page = render(_page(Text("first `code`\n\nsecond")))
    assert "<p>first <code>code</code></p><p>second</p>" in page


def test_facts_fold_what_is_long():
    page = render(_page(Details({"jax": "0.10.2", "config": {"a.b": 1}})))
    assert "<dt>jax</dt><dd>0.10.2</dd>" in page
    assert "<summary>config</summary><pre>a.b = 1</pre>" in page


def test_the_same_page_gives_the_same_file(tmp_path):
    for _ in range(2):
        write_page(_everything("x"), tmp_path, {"one": _figure("x")})
        assert (tmp_path / "report.html").read_text() == render(_everything("x"))
    assert (tmp_path / "figures" / "one.svg").read_text() == _figure("x").svg


def test_half_a_character_does_not_break_the_page(tmp_path):
    write_page(_page(Text("half: \ud800"), title="\udfff"), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "half: \\ud800" in page and "<title>\\udfff</title>" in page
