"""What a teacher has written about a solution: a section for each step, and the number of the first wrong one.

    ### Paragraph 1
    <analyze>
    ...
    </analyze>
    <verify>
    ```python
    ...
    ```
    [Code Output]

    ```
    ...
    ```
    </verify>

What code printed is nobody's word: it is taken out before anything is read, so no output can open or close a section.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jprm.errors import UserError
from jprm.records import Execution
from jprm.verify.verdict import boxed

OUTPUT_OPEN, OUTPUT_CLOSE = "[Code Output]\n\n```\n", "\n```\n"
HEAD = "### Paragraph {number}\n<analyze>\n"  # of a section
ANALYZE_CLOSE, VERIFY_OPEN, VERIFY_CLOSE = "</analyze>", "<verify>", "</verify>"
TAGS = ("### Paragraph", "<analyze>", ANALYZE_CLOSE, VERIFY_OPEN, VERIFY_CLOSE)
NONE_WRONG = -1  # the number that says that all paragraphs are right

_PLACE = "\0"  # stands for an output
_HEAD = re.compile(r"^###+[ \t]*Paragraph[ \t]+(\d{1,9})\b", re.M)
_BODY = re.compile(r"<analyze>(.*?)</analyze>.*?<verify>.*?</verify>", re.S)
_OWN_OUTPUT = re.compile(r"\[Code Output\]\s*```")
_NUMBER = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class StepSection:
    """The finished section on a paragraph (from 1): its analysis, and what its code printed."""

    number: int
    analysis: str
    executions: tuple[Execution, ...]


class Written:
    """The text of a teacher without what its code printed, and what can be read of it.

    add: text of the teacher's own, or forced on it. add_output: what code printed comes here.
    """

    def __init__(self) -> None:
        self._text = ""

    @classmethod
    def of(cls, text: str, executions: Sequence[Execution]) -> "Written":
        """Reads a finished text, in which the outputs of these pieces of code stand in this order.

        Raises UserError where they do not.
        """
        written, at = cls(), 0
        for execution in executions:
            shown, found = shown_output(execution.text), text.find(OUTPUT_OPEN, at)
            if found < 0 or not text.startswith(shown, found):
                raise UserError(f"the text of an attempt does not hold the output of its code ({execution.text!r:.40})")
            written.add(text[at:found])
            written.add_output()
            at = found + len(shown)
        written.add(text[at:])
        return written

    def add(self, text: str) -> None:
        """Adds text that is no output."""
        self._text += text.replace(_PLACE, "\ufffd")

    def add_output(self) -> None:
        """Adds the place of an output."""
        self._text += _PLACE

    @property
    def invents_output(self) -> bool:
        """Whether the teacher has written an output itself."""
        return bool(_OWN_OUTPUT.search(self._text))

    @property
    def in_verification(self) -> bool:
        """Whether a section of verification is open, in which code runs."""
        return self._text.rfind(VERIFY_OPEN) > max(self._text.rfind(tag) for tag in (VERIFY_CLOSE, ANALYZE_CLOSE))

    @property
    def numbers(self) -> list[int]:
        """The numbers of all paragraphs for which a section was begun, whether or not it was finished."""
        return [int(found[1]) for found in _HEAD.finditer(self._text)]

    def sections(self, executions: Sequence[Execution]) -> list[StepSection]:
        """Returns the finished sections in the order in which they stand, each with those of the executions in it."""
        heads = list(_HEAD.finditer(self._text))
        ends = [head.start() for head in heads[1:]] + [len(self._text)]
        found = []
        for head, end in zip(heads, ends, strict=True):
            body = self._text[head.end() : end]
            if read := _BODY.search(body):
                first = self._text.count(_PLACE, 0, head.start())
                of_section = executions[first : first + body.count(_PLACE)]
                found.append(StepSection(int(head[1]), read[1].strip(), tuple(of_section)))
        return found

    @property
    def is_between_sections(self) -> bool:
        """Whether a section is finished, and no other has been begun since."""
        return VERIFY_CLOSE in self._text and not any(tag in self._conclusion for tag in TAGS)

    @property
    def first_wrong(self) -> int | None:
        """The number of the first wrong paragraph, or NONE_WRONG; None where the conclusion holds neither in a box."""
        if not self.is_between_sections:
            return None
        numbers = (int(content) for _, content in boxed(self._conclusion) if _NUMBER.fullmatch(content))
        return next((n for n in numbers if n > 0 or n == NONE_WRONG), None)

    @property
    def _conclusion(self) -> str:
        return self._text.rpartition(VERIFY_CLOSE)[2]


def shown_output(output: str) -> str:
    """Returns what the teacher is shown of what its code printed."""
    return f"{OUTPUT_OPEN}{output}{OUTPUT_CLOSE}"


def closes_itself(output: str) -> bool:
    """Whether an output ends its own block: whoever looks for the end would take the rest for the teacher's words."""
    return (output + OUTPUT_CLOSE).find(OUTPUT_CLOSE) < len(output)
