"""The filter drops exactly the disagreements, and counts them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from jprm.label import Check, Conversation, Counts, filter_conversations
from jprm.label.consensus import ACCEPTS_WRONG, REJECTS_RIGHT, TOO_LONG, disagreement
from jprm.worlds.base import Annotation


def _check(output, kind="ok"):
    return Check(Annotation("", "print(1 == 1)"), kind, output)


YES, NO, BROKEN = _check("True"), _check("False"), _check("1", "error")


def _conversation(checks, first_error, too_long=False):
    return Conversation("s", "full", first_error, (("x", True),), tuple(checks), too_long)


def test_reasons():
    assert disagreement([YES, YES], -1) == ""
    assert disagreement([YES, NO], 1) == ""
    assert disagreement([YES, NO], -1) == REJECTS_RIGHT
    assert disagreement([NO, NO], 1) == REJECTS_RIGHT
    assert disagreement([YES, YES], 1) == ACCEPTS_WRONG
    assert disagreement([YES, BROKEN], 1) == "check without a result (error)"
    assert disagreement([_check("3")], -1) == "check without a result (ok)"
    assert _check("True", "timeout").verdict is None


def test_what_is_kept_and_what_is_counted():
    good, bad = _conversation([YES, NO], 1), _conversation([NO], -1)
    long = _conversation([YES], -1, too_long=True)
    counts = Counts()
    assert filter_conversations([good, bad, long, good], counts) == [good, good]
    assert (counts.kept, dict(counts.dropped)) == (2, {REJECTS_RIGHT: 1, TOO_LONG: 1})
    assert counts.seen == 4
    loose = Counts()
    assert filter_conversations([good, bad, long], loose, consensus=False) == [good, bad]
    assert dict(loose.dropped) == {TOO_LONG: 1}


def test_counts_as_json():
    counts = Counts()
    assert [counts.add(r) for r in ("", "a", "b", "b")] == [True, False, False, False]
    assert json.dumps(counts.to_json()) == '{"kept": 1, "dropped": {"b": 2, "a": 1}}'


@given(st.lists(st.sampled_from([YES, NO, BROKEN]), min_size=1, max_size=5), st.data())
def test_kept_conversations_have_checks_equal_to_labels(checks, data):
    first_error = data.draw(st.sampled_from([-1, len(checks) - 1]))
    counts = Counts()
    kept = filter_conversations([_conversation(checks, first_error)], counts)
    verdicts = [check.verdict for check in checks]
    expected = [t != first_error for t in range(len(checks))]
    assert bool(kept) == (verdicts == expected) == (counts.kept == 1)
