"""What identical histories led to: a tree whose edges are snippets and whose nodes are outcomes.

A session stands on a node; its path from the root is the list of the snippets that it has
finished. Looking a snippet up is one dictionary access, whatever the length of the history.

Assumption: a snippet's outcome is a function of its session's history. It holds for computation
(the worker seeds `random` and hashing); a program that reads the clock would repeat its first
answer. Time-outs and deaths depend on the machine's load and are never remembered.
"""

from __future__ import annotations

from jprm.execute.outcome import Outcome


class Node:
    """One history: the outcome of its last snippet (None at the root) and what followed it."""

    __slots__ = ("following", "outcome")

    def __init__(self, outcome: Outcome | None = None):
        self.outcome = outcome
        self.following: dict[str, Node] = {}


class Memo:
    """A tree of at most `capacity` nodes; when full it forgets all and begins anew."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.size = 0
        self.root = Node()

    def remember(self, node: Node, code: str, outcome: Outcome) -> Node:
        """Return the node after `code`, made with `outcome` if no equal session was faster."""
        if code not in node.following:
            if self.size >= self.capacity:
                # Live sessions keep their own nodes, which are merely no longer found from here.
                self.root, self.size = Node(), 0
            node.following[code] = Node(outcome)
            self.size += 1
        return node.following[code]
