"""How a policy is asked for a solution: the text around a problem."""

from collections.abc import Callable
from dataclasses import dataclass

from jprm.records import Problem


@dataclass(frozen=True)
class PolicyPrompt:
    """The texts before and after a problem, and those with which every solution begins.

    `BARE`, the problem as it is, is what models are asked with that were trained on documents of a world. In all other
    prompts the newline that ends a problem's record is dropped.
    """

    before: str = ""
    after: str = ""
    begin: str = ""

    def text(self, problem: Problem, quote: Callable[[str], str]) -> str:
        """Returns all that the model reads before a solution; `quote` marks the problem's text as that of others."""
        if not self.before and not self.after:
            return quote(problem.text)
        return self.before + quote(problem.text.removesuffix("\n")) + self.after


BARE = PolicyPrompt()
