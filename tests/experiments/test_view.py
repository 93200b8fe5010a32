"""Runs in a browser: the report while a sweep goes on, the index, and nothing else of the machine."""

import json
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from jprm.errors import UserError
from jprm.experiments.view import RunSite, RunsSite
from jprm.report import server_of


@pytest.fixture
def runs(tmp_path):
    """A folder with a report, a run that has just begun, and something else."""
    for name, texts in {
        "old": {"report.html": "<html><body>the report</body></html>"},
        "a b": {"config.json": "{}", "results.jsonl": json.dumps(ROW) + "\n"},
        "no run": {"secret.txt": "secret"},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in texts.items():
            (tmp_path / name / file).write_text(text)
    return tmp_path


ROW = {"cell": "<b>c", "n_votes": 8, "f1": 0.5, "f1_low": 0.4, "f1_high": 0.6, "benchmark": "policy"}


@pytest.fixture
def served(runs):
    with server_of(RunsSite(runs), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def test_the_index_leads_to_the_runs(served, runs):
    index = get(f"{served}/")
    assert '<a href="a%20b/">a b</a>' in index and '<a href="old/">old</a>' in index and "no run" not in index
    assert "0.500" in index and "policy" in index
    assert "the report" in get(f"{served}/old/") and 'fetch("state")' in get(f"{served}/old/")
    assert "There is no report here yet." in get(f"{served}/a%20b/")
    before = get(f"{served}/state"), get(f"{served}/old/state")
    (runs / "old" / "report.html").write_text("<html><body>another</body></html>")
    assert get(f"{served}/old/state") != before[1] and get(f"{served}/state") != before[0]
    assert "another" in get(f"{served}/old/")


@pytest.mark.parametrize("path", ["no run/", "no run/secret.txt", "../", "..%2f", "old/report.html", "old/../old/x/"])
def test_nothing_else_is_served(served, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{served}/{urllib.parse.quote(path, safe='/%')}")
    assert caught.value.code == 404
    caught.value.close()


def test_a_folder_without_runs_is_refused(tmp_path):
    for site in (RunSite, RunsSite):
        with pytest.raises(UserError, match="no run"):
            site(tmp_path)


def test_a_port_that_is_taken_is_named(runs):
    with server_of(RunsSite(runs), 0) as server, pytest.raises(UserError, match="name another port"):
        server_of(RunsSite(runs), server.server_port)
