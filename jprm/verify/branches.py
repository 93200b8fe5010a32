"""Verifies solutions that share beginnings: what was said of a beginning is gone on from.

A search judges a branch, its children, and theirs. Here every distinct beginning `steps[: t + 1]` of
a problem is a node with a rationale of each vote on its last step; a longer branch adds nodes, and
its votes go on from the conversations of the node before (`chain`: each from its own, `fork`: all
from that of vote 0), in a namespace in which their earlier code has run.

Invariant: what is drawn for a node depends on the problem, its steps, the vote and the seed, never
on the branches beside it or on how many calls it took to get there. For the same reason, and so that
no slot is held while a search decides, a node's conversation is a new one of the sampler: it reads
all that went before in the same way whether that was written just now or long ago.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from jprm.execute import CodePlace
from jprm.quoting import TextCodec
from jprm.records import Problem, Rationale, Solution, stable_id
from jprm.sampling import Sampler
from jprm.verify.conversation import OpenConversation
from jprm.verify.driver import HISTORY_VOTE, Driver
from jprm.verify.settings import VerifySettings
from jprm.verify.table import VoteTable

Steps = tuple[str, ...]


@dataclass(eq=False)
class Node(VoteTable):
    """The votes on the last step of a beginning; earlier steps are those of the nodes `before` it.

    ended: the conversations that can be gone on from, by vote. following: nodes that wait for this
    one. full: whether all votes are in.
    """

    before: Node | None = None
    ended: dict[int, OpenConversation] = field(default_factory=dict)
    following: list[Node] = field(default_factory=list)
    full: bool = False

    @property
    def step(self) -> int:
        """The index of the step that is judged here."""
        return len(self.solution.steps) - 1

    def votes_on_step(self) -> list[Rationale]:
        """The rationales, by vote."""
        return [self.rationale(self.step, vote) for vote in self.votes]


class Branches:
    """Judges branches and remembers them by problem, until it is told to forget a problem."""

    def __init__(
        self,
        votes: int,
        sampler: Sampler,
        executor: CodePlace | None,
        tokenizer: TextCodec,
        settings: VerifySettings,
        seed: int,
    ):
        """Raises UserError as `verify` does, for settings that do not fit."""
        self.votes, self._mode = range(votes), settings.mode
        self._asked = sampler, executor, tokenizer, settings, seed
        self._nodes: dict[str, dict[Steps, Node]] = {}
        _NodeDriver(self.votes, *self._asked)

    def judge(self, items: Sequence[tuple[Problem, Steps]]) -> list[list[Rationale]]:
        """The rationales on all steps of each branch, by step, then vote.

        A rationale's `solution_id` names the beginning that ends with its step. Only nodes that are
        not there yet are drawn. Raises whatever stops the work; what was complete stays known.
        """
        waiting: deque[VoteTable] = deque()
        new = [node for problem, steps in items for node in self._plant(problem, steps, waiting)]
        try:
            for node in _NodeDriver(self.votes, *self._asked).run(waiting):
                assert isinstance(node, Node)
                node.full = True
                waiting += node.following
                node.following.clear()
        finally:
            for node in new:
                if not node.full:
                    self._drop(self._nodes[node.problem.id].pop(node.solution.steps))
        return [
            [
                rationale
                for end in range(1, len(steps) + 1)
                for rationale in self._nodes[problem.id][steps[:end]].votes_on_step()
            ]
            for problem, steps in items
        ]

    def forget(self, problem: Problem) -> None:
        """Give up whatever is held for this problem."""
        for node in self._nodes.pop(problem.id, {}).values():
            self._drop(node)

    def _plant(self, problem: Problem, steps: Steps, waiting: deque[VoteTable]) -> list[Node]:
        """The nodes that a branch adds; the first of them waits for nothing, or for its `before`."""
        nodes, before, new = self._nodes.setdefault(problem.id, {}), None, []
        for end in range(1, len(steps) + 1):
            beginning = steps[:end]
            node = nodes.get(beginning)
            if node is None:
                name = stable_id("branch", problem.id, *beginning)
                solution = Solution(name, problem.id, beginning, "search")
                node = Node(*(problem, solution, self.votes, self._mode, (), lambda rationale: None), before=before)
                nodes[beginning] = node
                new.append(node)
                (waiting if before is None or before.full else before.following).append(node)
            before = node
        return new

    def _drop(self, node: Node) -> None:
        for conversation in node.ended.values():
            if conversation.session is not None:
                conversation.session.close()
        node.ended.clear()


class _NodeDriver(Driver):
    """A driver whose conversations begin where those of the node before ended."""

    def begin(self, table: VoteTable) -> None:
        """Open the conversations of a node; give it back where none is left to be had."""
        assert isinstance(table, Node)
        votes = table.lacking(table.step)
        if not votes:
            self.finished.append(table)
        elif table.before is None:
            super().begin(table)
        else:
            table.n_open += 1  # this loop, lest a vote that ends at once ends the table
            for group in [[vote] for vote in votes] if self.chain else [votes]:
                self._go_on_from(table, table.before, group)
            self.leave(table)

    def _go_on_from(self, table: Node, before: Node, votes: list[int]) -> None:
        """Open conversations that share a past, which is in chain mode that of the one vote."""
        past = before.ended.get(votes[0] if self.chain else HISTORY_VOTE)
        if past is None:
            for vote in votes:
                table.put_nothing(table.step, vote, "context")
            return
        step = self.texts.quote(table.solution.steps[-1])
        history = past.history.following(past.dialogue.text, step)
        session = past.session.fork() if past.session else None
        self.open(table, table.step, votes, history, session, parent=past)

    def retire(self, conversation: OpenConversation) -> None:
        """Keep text and namespace of what others may go on from; its slot is free."""
        table = conversation.table
        assert isinstance(table, Node)
        outgrown = table.rationale(conversation.step, conversation.vote).reason == "context"
        if outgrown or not (self.chain or conversation.vote == HISTORY_VOTE):
            self.release(conversation)
        else:
            if self.conversations.pop(conversation.handle, None) is not None:
                self.sampler.release(conversation.handle)
            conversation.turn, conversation.logprobs = [], []
            table.ended[conversation.vote] = conversation
        self.leave(table)
