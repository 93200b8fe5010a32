"""A teacher's attempt at a solution: it analyses one step after another, and code of its own checks each.

The teacher, a model without training in any protocol of ours, is asked to judge the numbered paragraphs of a solution
in sections (`jprm.verify.sections`) and to end with the number of the first wrong one in a box, or -1 (the pipeline of
GenPRM, arXiv 2504.00891, appendix; its released `process.py`). Its code really runs, and what that printed is forced.

    prompt | ### Paragraph 1 <analyze> | analysis, code | output | ... | conclusion \\boxed{2}

An attempt judges the solution whole, as a `Solution` of one step (`as_paragraphs`). `Done.correct` says whether the
teacher found no error.

What fails in the released program cannot here: a limit of rounds ends this attempt and not the job, a section without
an end is no empty rationale, and a text that stops anywhere else than asked ends with the reason.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jprm import records
from jprm.errors import UserError
from jprm.prompt import PolicyPrompt
from jprm.quoting import TextCodec, unquote
from jprm.records import Solution
from jprm.verify.protocol import Budget, Dialogue, Done, Execution, Generate, Pieces, RationaleFormat
from jprm.verify.sections import HEAD, NONE_WRONG, TAGS, Written, shown_output
from jprm.verify.snippets import CodeSettings, code_in, opened_block
from jprm.verify.texts import ends_of_text, first_stop, may_stop

CODE_OPEN, CODE_CLOSE, THINK_CLOSE = "```python\n", "\n```\n", "</think>"
CONCLUSION = "\n\n### Conclusion\nThe number of the first wrong paragraph (-1 for none) is \\boxed{"
CODE = CodeSettings(fences=True)  # a teacher opens its blocks as it is used to

# Why an attempt has no verdict.
UNFINISHED = "the teacher ran out of tokens"
UNCLOSED = "the teacher did not close its code"
ROUNDS = "the teacher wrote too many pieces of code"
NO_CONCLUSION = "the teacher gave no verdict"
DISORDER = "the teacher skipped a step, or judged steps out of order"
INVENTED = "the teacher wrote an output itself"


@dataclass(frozen=True)
class Teacher(RationaleFormat):
    """How a teacher is asked, and what an attempt may cost.

    prompt: the texts around problem and solution, and those with which every answer begins before its first section.
    budget: tokens of the attempt, generated and forced; pieces of code; tokens of a forced conclusion.
    call_tokens: what the teacher may write between two stops. end_of_turn: the text of the token that ends a text.
    """

    prompt: PolicyPrompt
    budget: Budget
    call_tokens: int
    end_of_turn: str  # pyright: ignore[reportIncompatibleVariableOverride] - it is the model's
    all_stops: ClassVar[tuple[str, ...]] = (CODE_CLOSE, THINK_CLOSE)

    @property
    def verdict_words(self) -> tuple[str, str]:
        """Raises UserError: a teacher's verdict is a number."""
        raise UserError("a teacher's verdict is a number, and has no word that could be likely")

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the attempt, given all paragraphs as one step (`as_paragraphs`)."""
        task = f"Problem:\n{problem.strip()}\n\nSolution:\n{step}"
        return self.prompt.before + task + self.prompt.after

    def following(self, before: str, rationale: str, step: str) -> str:
        """Raises UserError: a teacher reads the whole solution."""
        raise UserError("a teacher judges whole solutions; verify `as_paragraphs(solution)`, of one step")

    def conversation(self, problem: str, steps: Sequence[str], rationales: Sequence[Pieces], style: str) -> Pieces:
        """Raises UserError: what a teacher writes is laid out in a verifier's protocol."""
        raise UserError("a teacher's attempt is no training text; write its rationales in a verifier's protocol")

    def authored(self, analysis: str, codes: Sequence[str], is_right: bool, style: str) -> list[str]:
        """Raises UserError as `conversation` does."""
        raise UserError("a teacher's attempt has no author; write its rationales in a verifier's protocol")

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Takes all for analysis; nothing follows an attempt that it could be shortened for."""
        return rationale, "", ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens that end a text; the other stops are texts."""
        return list(ends_of_text(codec))


def as_paragraphs(solution: Solution) -> Solution:
    """Returns the solution as one step, which holds all of its steps as paragraphs that are numbered from 1."""
    numbered = (f"<paragraph_{n}>\n{step.strip()}\n</paragraph_{n}>" for n, step in enumerate(solution.steps, 1))
    return dataclasses.replace(solution, steps=("\n".join(numbered),))


class TeacherDialogue(Dialogue):
    """An attempt in the making.

    Every feed uses up tokens of the budget, and one of none ends the text; so an attempt ends whatever is fed.
    """

    def __init__(
        self, teacher: Teacher, codec: TextCodec, step: int = 0, style: str = "full", execute: Execution = "executed"
    ):
        """Begins an attempt. Raises UserError for styles and code that a teacher does not have."""
        super().__init__(teacher, codec, step, style, execute)
        if (style, execute) != ("full", "executed"):
            raise UserError("a teacher writes analysis and code that is executed: style = 'full', execute = 'executed'")
        self.teacher = teacher
        self._written = Written()
        self._turn = ""  # what the teacher has written since the last stop
        self._call_left = 0  # tokens
        self._is_concluding = False
        self._force(teacher.prompt.begin + HEAD.format(number=1))

    def feed(self, text: str, tokens: int) -> None:
        """Takes what the teacher wrote, up to a stop or not, and its length in tokens.

        Text behind a stop is dropped: a token may hold more than the end of the stop.
        """
        assert isinstance(self._action, Generate), "nothing was to be generated"
        # 1. Count the tokens, and find the stop.
        self.generated_tokens += tokens
        self._call_left -= tokens
        before, self._turn = self._turn, self._turn + text
        end = first_stop(self._turn, self._action.stops)
        if end is None and tokens and self._call_left > 0 and self._action.stops:
            # 2. Where no stop has ended after all, let the teacher go on.
            if may_stop(text, self._action.stops):
                self.text += text
                self._go_on("", self._call_left)
                return
            # 3. Else it ended its text; a block of code may lack no more than its newline.
            if first_stop(self._turn + "\n", (CODE_CLOSE,)):
                self._turn += "\n"
                self.forced_tokens += len(self.texts.encode("\n"))
                end = len(self._turn)
        # 4. Drop what stands behind the stop, and go on by what was written.
        self._turn = self._turn[:end]
        self.text = self.text[: len(self.text) - len(before)] + self._turn
        turn, self._turn = self._turn, ""
        self._written.add(unquote(turn))
        if reason := self._fault():
            self._finish(reason)
        elif end is not None and turn.endswith(CODE_CLOSE):
            self._end_block(turn)
        else:
            self._end_text(turn)

    def _end_block(self, turn: str) -> None:
        """Has a block of Python in a verification run; any other block is text."""
        block = opened_block(turn.removesuffix(CODE_CLOSE) + "\n", CODE_OPEN, CODE)
        if not (block and block[0] == "```" and self._written.in_verification):
            self._force("")
        elif self._rounds >= self.budget.max_rounds:
            self._finish(ROUNDS)
        else:
            self._rounds += 1
            self._run(code_in(block[1], CODE))

    def _answer(self, code: str, kind: str, output: str) -> None:
        self.executions.append(records.Execution(code, kind, output))
        self._written.add_output()
        self._generate(shown_output(self.texts.quote_output(output, TAGS)))

    def _end_text(self, turn: str) -> None:
        """Reads the verdict where the teacher ended its text, or its thinking; asks for it, once, where there is none.

        It is not asked in the middle of a section: what is not finished is not judged.
        """
        if self._written.first_wrong is not None:
            self._finish("")
        elif opened_block(turn, CODE_OPEN, CODE):
            self._finish(UNCLOSED)
        elif self._call_left <= 0 and not self._is_concluding:
            self._finish(UNFINISHED)
        elif self._is_concluding or not self._written.is_between_sections:
            self._finish(NO_CONCLUSION)
        else:
            self._is_concluding = True
            self._written.add(CONCLUSION)
            self._say(CONCLUSION)
            self._call_left = self.budget.verdict_tokens
            self._action = Generate(CONCLUSION, self._call_left, ())

    def _fault(self) -> str:
        """Returns why nothing that follows could make this attempt a good one; "" where it still may be."""
        if self._written.invents_output:
            return INVENTED
        return DISORDER if not _counts_up(self._written.numbers) else ""

    def _force(self, forced: str) -> None:
        """Says a text of ours, and lets the teacher go on."""
        self._written.add(forced)
        self._generate(forced)

    def _generate(self, forced: str) -> None:
        self._say(forced)
        left = self.budget.max_tokens - self.generated_tokens - self.forced_tokens
        if left <= 0:
            self._finish("" if self._written.first_wrong is not None else UNFINISHED)
        else:
            self._go_on(forced, min(left, self.teacher.call_tokens))

    def _go_on(self, forced: str, tokens: int) -> None:
        self._call_left = tokens
        self._action = Generate(forced, tokens, Teacher.all_stops)

    def _finish(self, reason: str) -> None:
        verdict = None if reason else self._written.first_wrong
        self._action = Done(None if verdict is None else verdict == NONE_WRONG, reason, "")


def _counts_up(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(1, len(numbers) + 1))
