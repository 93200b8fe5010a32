"""This file reads the text of a compiled program: how many bytes go between devices, and which arrays are copied.

The text lists computations; an instruction of one calls others. The body of a loop counts as often as it runs, which
its condition tells: it compares a counter that begins at 0 with a constant.
"""

import functools
import math
import re
from collections import Counter
from dataclasses import dataclass

BITS = {"pred": 8, "bf16": 16, **{f"{kind}{n}": n for kind in "suf" for n in (8, 16, 32, 64)}}
SHAPE = re.compile(r"\b(pred|bf16|[suf](?:8|16|32|64))\[([0-9,]*)\]")
OPENING = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-done)?\(")
CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation|body)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
WHILE = re.compile(r" while\(.*condition=%?([\w.-]+), body=%?([\w.-]+)")
COPY = re.compile(r"= (\S+) (?:copy|copy-start|transpose)\(")
LIMIT = re.compile(r"constant\((\d+)\)")


@dataclass(frozen=True)
class Traffic:
    """One device sends so much in a call: how often each kind of collective runs, and how many bytes that is."""

    calls: dict[str, int]
    bytes: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Returns the bytes of all kinds together."""
        return sum(self.bytes.values())


def traffic(text: str) -> Traffic:
    """Counts the collectives of a compiled program, those of loops as often as they run.

    A ring of n devices sends (n - 1) / n of the gathered array for an all-gather, twice that for an all-reduce.
    """
    computations = _computations(text)
    calls, sent = Counter(), Counter()
    for name, times in _runs(computations).items():
        for line in computations[name]:
            if found := COLLECTIVE.search(line):
                kind, result = found[2], shape_bytes(found[1])
                if (n := _group(line)) == 1:
                    continue  # a device alone sends nothing
                part = (n - 1) / n
                shares = {"all-reduce": 2 * part, "reduce-scatter": n - 1, "collective-permute": 1}
                calls[kind] += times
                sent[kind] += round(times * result * shares.get(kind, part))
    return Traffic(dict(calls), dict(sent))


def copied(text: str, elements: int) -> list[str]:
    """Lists the shapes of arrays of so many elements that a program copies or transposes outside of fused loops."""
    fused = {name for line in text.splitlines() if " fusion(" in line for name in CALLED.findall(line)}
    found = []
    for name, lines in _computations(text).items():
        if name not in fused:
            found += [match[1] for line in lines if (match := COPY.search(line)) and _elements(match[1]) == elements]
    return found


def shape_bytes(text: str) -> int:
    """Returns the bytes of a shape as the text writes it, such as `bf16[2,3]{1,0}`; those of a tuple are summed."""
    return sum(BITS[kind] // 8 * _product(axes) for kind, axes in SHAPE.findall(text))


def _elements(text: str) -> int:
    return sum(_product(axes) for _, axes in SHAPE.findall(text))


def _product(axes: str) -> int:
    return math.prod(int(axis) for axis in axes.split(",") if axis)


def _group(line: str) -> int:
    """Returns how many devices take part in a collective, 2 where its line does not say.

    Groups are listed, or numbered in an array, or named as axes of a mesh.
    """
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] *\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", found[2]))
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return found[1].count(",") + 1
    return 2


def _computations(text: str) -> dict[str, list[str]]:
    """Returns the lines of each computation by its name. The program begins in the one that is called ""."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if opening := OPENING.match(line):
            lines = found["" if line.startswith("ENTRY") else opening[1]] = []
        lines.append(line)
    return found


def _runs(computations: dict[str, list[str]]) -> Counter:
    """Counts how often each computation runs in a call of the program."""

    @functools.cache
    def below(name: str) -> Counter:
        runs = Counter({name: 1})
        for line in computations[name]:
            times = 1
            if loop := WHILE.search(line):
                times = _turns(computations[loop[1]])
            called = CALLED.findall(line)
            for branches in BRANCHES.findall(line):
                called += [branch.strip().lstrip("%") for branch in branches.split(",")]
            for other in called:
                if other in computations:
                    for inner, count in below(other).items():
                        runs[inner] += times * count
        return runs

    return below("")


def _turns(condition: list[str]) -> int:
    """Returns how often a loop turns, by its condition; 1 where that is known only when it runs."""
    limits = [int(found[1]) for line in condition if "s32[]" in line and (found := LIMIT.search(line))]
    return limits[0] if len(limits) == 1 else 1
