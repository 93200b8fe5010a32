"""A sweep's page while it goes on: what is to be done, then the cells that are there, then its report."""

import shutil

from jprm.experiments.view import RunSite


def test_the_page_grows_with_the_cells(finished, tmp_path):
    run = tmp_path / "embedded"
    shutil.copytree(finished[0] / "embedded", run)
    site = RunSite(run)
    whole = site.page()
    assert whole == (run / "report.html").read_text() and site.page() == whole
    (run / "report.html").unlink()
    votes = sorted((run / "stages").glob("votes-*"))
    sweep = site._open()
    main = run / "stages" / f"votes-{sweep.main.votes.key}"
    others = [path for path in votes if path != main]
    for path in others:
        path.rename(tmp_path / path.name)
    state = site.state()
    page = site.page()
    assert f"1 of {len(sweep.cells)} cells are finished" in page and "F1 at 2 votes" in page
    assert "What is done" in page and "to do" in page
    main.rename(tmp_path / main.name)
    assert site.state() != state
    page = site.page()
    assert f"0 of {len(sweep.cells)} cells are finished" in page and "F1 at 2 votes" not in page
