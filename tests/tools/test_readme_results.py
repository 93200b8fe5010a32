"""The README's table and figure, made in small from a finished run with contents made here."""

import re

import pytest

import jprm
from jprm.errors import UserError
from tests.experiments.sweep.test_findings import VOTES, config_of, pretend
from tests.pages import ROOT
from tools import readme_results


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The run directory of a sweep in which the larger model, more examples and the filter help."""
    config = config_of(tmp_path_factory.mktemp("readme"), ablations=["code", "direct", "unfiltered"])
    better = {"direct": 0.2, "code": 0.5}
    pretend(config, lambda v: better.get(v.style, 0.85 if v.size == "tiny-0.3m" and v.examples == 1000 else 0.6))
    (config.path / "config.json").write_text(config.model_dump_json())
    return config.path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a README that has the marks of ours."""
    monkeypatch.setattr(readme_results, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"# T\n\n{readme_results.BEGIN}\n\nold\n\n{readme_results.END}\n\nrest\n")
    return tmp_path


def test_the_command_writes_the_table_and_a_small_figure(path, place, capsys):
    assert readme_results.main([str(path)]) == 0
    text = (place / "README.md").read_text()
    assert text.startswith("# T\n\n<!-- results") and text.endswith("<!-- end of results -->\n\nrest\n")
    assert "old" not in text and "Of 120 test solutions, seed 0:" in text
    run = jprm.open_run(path)
    rows = {name: (one, most) for name, one, most in readme_results.ROW.findall(text)}
    assert list(rows) == [
        readme_results.MAIN,
        "the main cell with 250 examples",
        "the main cell with 0.1M parameters",
        *("code alone", "a direct Yes or No", "no consensus filter"),
    ]
    best = {row.n_votes: row.f1 for row in run.main.rows}
    assert rows[readme_results.MAIN] == tuple(str(best[k]).replace("0.", ".") for k in (1, VOTES))
    svg = (place / "docs" / "figures" / "default-run.svg").read_text()
    assert len(svg.encode()) < 60_000 and 'style="background:#fff"' in svg and "http://www.w3.org/2000/svg" in svg
    assert all(name in re.sub(r"\s+", " ", svg) for name in ("code alone", "no consensus filter", "votes per step"))
    assert "(docs/figures/default-run.svg)" in text
    assert readme_results.main([str(path), "--check"]) == 0, "what was just written is right"
    assert capsys.readouterr().out.endswith("the README says what the run says\n")


def test_a_number_outside_of_its_interval_and_a_row_too_many_are_told(path, place, capsys):
    readme_results.main([str(path)])
    text = (place / "README.md").read_text()
    _, most = dict((name, (one, most)) for name, one, most in readme_results.ROW.findall(text))[readme_results.MAIN]
    wrong = text.replace(most, ".100 [.050, .150]").replace("| code alone |", "| no code |")
    (place / "README.md").write_text(wrong)
    assert readme_results.main([str(path), "--check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert f"{readme_results.MAIN}: the README says .100 [.050, .150], the run {most}" in said
    assert {"code alone: in one of both alone", "no code: in one of both alone"} <= {*said}


def test_what_cannot_be_written_is_told(path, place, capsys):
    (place / "README.md").write_text("no marks")
    assert readme_results.main([str(path)]) == 2 and "the marks of the results are missing" in capsys.readouterr().err
    assert readme_results.main([str(place)]) == 2 and "no finished sweep there" in capsys.readouterr().err
    with pytest.raises(UserError, match="the marks"):
        readme_results.replaced("", "")


def test_our_readme_has_the_place():
    text = (ROOT / "README.md").read_text()
    assert readme_results.replaced(text, "X").count("X") == text.count("X") + 1
    assert readme_results.MAIN in {name for name, *_ in readme_results.ROW.findall(text)}
