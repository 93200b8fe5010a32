"""The guard: what no rollout may contain if its judgement is to count.

A rollout with a reason gets a wrong outcome and steps that nobody judged, and is counted by its reasons. It cannot see
a right answer behind wrong steps in a text that is otherwise in order: that is what judges are for.
"""

import re
from collections.abc import Sequence
from typing import Literal

from jprm.records import Problem
from jprm.worlds.base import World

REASONS = {
    "answer": "There is not exactly one final answer, or something stands behind it.",
    "count": "There are fewer or more steps than a solution has.",
    "form": "A step cannot be read as one (told in worlds that know the form of theirs).",
    "repeated": "A step stands there twice.",
    "protocol": "The text speaks the judge's own protocol: its tags, a judgement, a boxed Yes or No.",
    "length": "The text ran out of tokens.",
}
FORM = "format"  # the kind of error that `World.truth` gives a text that is no step
PROTOCOL = re.compile(
    r"</?(?:analyze|verify|output|critique|think)>|\[Code output|\bjudge?ment\b|\\boxed\s*\{\s*(?:yes|no)\b",
    re.IGNORECASE,
)
NUMBER = re.compile(r"^\W*(?:step\s*\d+|\d+(?=[.):]))\W*", re.IGNORECASE)  # of a step


def guard(
    problem: Problem,
    steps: Sequence[str],
    text: str,
    world: World,
    *,
    fewest: int = 1,
    most: int = 12,
    finish: Literal["stop", "length"] = "stop",
) -> tuple[str, ...]:
    """Returns the names of the `REASONS` against a rollout, () for none.

    text: all that was drawn. fewest, most: the numbers of steps that a solution may have. finish: how drawing ended.
    """
    stated = [world.answer(steps[: end + 1]) is not None for end in range(len(steps))]
    bare = [NUMBER.sub("", step).strip().lower() for step in steps]
    holds = {
        "answer": not stated or not stated[-1] or any(stated[:-1]),
        "count": not fewest <= len(steps) <= most,
        "form": any(world.truth(problem, (step,))[1] == FORM for step in steps),
        "repeated": len(set(bare)) < len(bare),
        "protocol": PROTOCOL.search(text) is not None,
        "length": finish == "length",
    }
    return tuple(reason for reason in REASONS if holds[reason])
