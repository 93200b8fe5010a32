"""The page in a real browser, opened from a file: no request, no complaint, nothing wider than the screen."""

import html
import json
import re
import shutil
import subprocess

import pytest

from jprm.report import Items, JudgedItem, Page, Section, StepVote, VotedStep, render
from tests.report.test_pages import EVIL, _everything

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here")
# Runs last and says into the title what a reader would notice.
PROBE = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  setTimeout(look, 100);  // when the scroll bar that this may bring has its place
});
function look() {
  const page = document.documentElement, scripts = document.scripts.length;
  const seen = {width: innerWidth, over: page.scrollWidth - page.clientWidth, scripts};
  const asked = performance.getEntriesByType("resource").map(entry => entry.name);
  parent.document.title = JSON.stringify({...seen, asked, alerted: window.alerted === true});
}
</script></body>"""


# Clicks, searches and turns pages as a reader would.
READER = """<script>
addEventListener("load", () => {
  const one = name => document.querySelector(name), chips = [...document.querySelectorAll(".filters button")];
  const rows = () => document.querySelectorAll(".list > details").length;
  const seen = {chips: chips.map(chip => chip.textContent), first: rows()};
  [...document.querySelectorAll(".browser > .pager button")].at(-1).click();
  seen.second = rows();
  chips.find(chip => chip.textContent.startsWith("wrong")).click();
  seen.wrong = rows();
  const open = one(".list > details"), filled = new Promise(done => open.addEventListener("toggle", done));
  open.querySelector("summary").click();
  filled.then(() => {
    open.querySelector("button.read").click();
    seen.read = open.querySelector(".rationale").textContent;
    seen.code = open.querySelector(".code").textContent;
    seen.votes = open.querySelectorAll(".rationale").length;
    seen.elements = open.querySelectorAll("script, img").length;
    one("input").value = "needle";
    one("input").dispatchEvent(new Event("input"));
    seen.found = rows();
    seen.hint = one(".count").textContent;
    parent.document.title = JSON.stringify(seen);
  });
});
</script></body>"""


def browse(page, width, folder):
    """What the probe saw, and the lines of the console, for a page of that width.

    In a frame, because the window of a headless browser has a least width.
    """
    frame = f"<iframe style='width:{width}px;height:900px;border:0' srcdoc='{html.escape(page)}'>"
    file = folder / "frame.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title></title>{frame}</iframe>")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,1000",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        "--dump-dom",
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(title[1])), console


HOSTILE = f"{EVIL} </script> ${{7 * 7}} {{{{ 7 * 7 }}}} \u202eright to left \u05e9\u05dc\u05d5\u05dd " + "longword" * 40


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("text", [f"a long line of words {EVIL} " + "word " * 30, HOSTILE])
def test_the_page_needs_no_network_says_no_error_and_fits(tmp_path, width, text):
    page = _everything(text)
    seen, console = browse(render(page).replace("</body>", PROBE), width, tmp_path)
    assert seen == {"width": width, "over": 0, "scripts": 3, "asked": [], "alerted": False}
    assert console == []


def test_a_wrong_verdict_is_found_and_read_in_three_clicks(tmp_path):
    text = f"<analyze>I add. {EVIL}<img src=x></analyze>\n<verify>print(1)</verify>\n[Code output: 1]\n\\boxed{{No}}"
    votes = tuple(StepVote(i, i > 0, float(i > 0), text) for i in range(6))
    items = [
        JudgedItem(f"s{i}", "needle" if i == 7 else "p", "", 0, 0 if i % 10 else -1, (VotedStep("one", False, votes),))
        for i in range(30)
    ]
    page = render(Page("T", "", [Section("S", [Items("", items)])])).replace("</body>", READER)
    seen, console = browse(page, 1280, tmp_path)
    assert seen["chips"] == ["all 30", "right 27", "wrong 3", "disagreement 30", "None 0"]
    assert (seen["first"], seen["second"], seen["wrong"], seen["votes"]) == (20, 10, 3, 4)
    assert "vote 1 says No, reward 0.00" in seen["read"] and "the majority says Yes" in seen["read"]
    assert EVIL in seen["read"] and seen["code"] == "print(1)" and seen["elements"] == 0
    assert seen["found"] == 0 and seen["hint"] == "0 of 30 solutions", "the needle is among the right ones"
    assert console == []


def test_the_probe_would_notice(tmp_path):
    """The control: a page that asks, complains, runs and overflows."""
    page = (
        "<!doctype html><body><script>window.alerted = true; console.error('no')</script>"
        f'<img src="http://localhost:9/x.png"><p style="width:3000px">wide</p>{PROBE}'
    )
    seen, console = browse(page, 400, tmp_path)
    assert seen["over"] > 2000 and seen["scripts"] == 2 and seen["alerted"]
    assert seen["asked"] == ["http://localhost:9/x.png"]
    assert any("no" in line for line in console)
