"""The pages of docs/ and the README: links lead somewhere, and paths of the code that they name are there."""

import functools
import re
from collections import Counter
from pathlib import Path

import pytest

from jprm.records import Execution, Rationale, Verdict, to_json
from tests.pages import documented

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
CODE_PATH = re.compile(r"`((?:jprm|tests|tools|experiments|configs|docs)/[\w./-]*)`")


@functools.cache
def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    lost = [path for path in CODE_PATH.findall(text) if not (ROOT / path).exists()]
    for link in LINK.findall(text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_every_decision_is_in_the_index_and_has_a_date():
    page = ROOT / "docs" / "decisions.md"
    text = page.read_text(encoding="utf-8")
    index, _, entries = text.partition("\n## Index\n")[2].partition("\n## ")
    headings = re.findall(r"^### (.+)$", entries, flags=re.MULTILINE)
    assert all(re.search(r" \(\d{4}-\d\d-\d\d\)$", heading) for heading in headings)
    linked = [link.removeprefix("#") for link in LINK.findall(index)]
    of_entries = [anchor for anchor in anchors(page) if re.search(r"-\d{4}-\d\d-\d\d$", anchor)]
    assert [link for link in linked if link in of_entries] == of_entries
    assert max(Counter(of_entries).values()) == 1


def test_the_glossary_is_alphabetical():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = [word.lower() for word in re.findall(r"^\*\*(.+?)\.\*\*", text, flags=re.MULTILINE)]
    assert words == sorted(words) and len(words) == len(set(words))


@pytest.mark.parametrize(
    "name",
    [
        *("results.jsonl", "A rationale", "rationales.jsonl", "labels.jsonl", "unused.jsonl", "conversations.jsonl"),
        *("jprm.json", "Step scores", "choose --json", "Pairs of answers", "judged.jsonl", "rl credit --json"),
    ],
)
def test_an_example_row_has_the_fields_of_its_table(name):
    assert documented(name)["example"].keys() == documented(name)["fields"]


def test_a_rationale_is_as_the_page_of_files_says():
    rationale = Rationale("a", 0, 0, "chain", "", (Execution("", "ok", ""),), Verdict(True, 0.9, 0.8), 1, 1)
    row, example = to_json(rationale), documented("A rationale")["example"]
    assert row.keys() == example.keys()
    assert row["verdict"].keys() == example["verdict"].keys()
    assert row["executions"][0].keys() == example["executions"][0].keys()
