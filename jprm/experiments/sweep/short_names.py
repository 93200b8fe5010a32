"""What tells cells apart, in few words: the labels of lines, rows and comparisons say what differs and nothing else."""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from jprm.experiments.sweep.cells import Cell

# Facts of a cell beside the values of axes, in the order in which labels name them, and how they are said.
WORDS = {
    "model": "{}",
    "train_examples": "{} examples",
    "style": "style {}",
    "code": "{} code",
    "labels": "{} labels",
    "filtered": "filter {}",
    "mode": "{}",
    "benchmark": "{}",
    "verify.n_votes": "{} votes",
    "seed": "seed {}",
}
FACT_OF_KEY = {  # keys of axes that name a fact of every cell
    "cell.size": "model",
    "cell.train_examples": "train_examples",
    "cell.seed": "seed",
    "cell.labels": "labels",
    "cell.filtered": "filtered",
    "cell.style": "style",
    "cell.code": "code",
    "verify.mode": "mode",
}


def facts_of(cell: Cell) -> dict[str, Any]:
    """What makes a cell: the columns of `results.jsonl` that name it, and the values that the axes set."""
    verifier, sampling = cell.verifier, cell.sampling
    facts = {
        "model": verifier.size,
        "train_examples": verifier.examples,
        "style": verifier.style,
        "code": sampling.execution,
        "labels": verifier.rule,
        "filtered": verifier.filtered,
        "mode": sampling.mode,
        "benchmark": cell.votes.benchmark.name,
    }
    facts |= {key: value for key, value in cell.values if key not in FACT_OF_KEY}
    return facts | {"seed": verifier.seed}


def short_labels(cells: Sequence[Cell]) -> list[str]:
    """A label for each of the cells that are shown together; different cells have different ones.

    One cell alone is called by its model.
    """
    if len(cells) == 1:
        return [cells[0].verifier.size]
    return labels_of([facts_of(cell) for cell in cells])


def labels_of(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A label for each mapping, of the values that differ between them; labels that read alike are numbered."""
    keys, labels, taken = varying(facts), [], set()
    for one in facts:
        label = in_words(one, keys)
        numbered = (f"{label} (no. {n})" for n in range(2, len(facts) + 2))
        labels.append(label if label not in taken else next(name for name in numbered if name not in taken))
        taken.add(labels[-1])
    return labels


def in_words(facts: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The values of these keys, such as "16 votes, temperature 0.7"."""
    keys = list(keys)
    return ", ".join(_phrase(key, facts[key], keys) for key in keys if key in facts)


def heading(key: str, keys: Iterable[str]) -> str:
    """A key without its section, where that leaves no doubt among these keys."""
    if key == "verify.n_votes":
        return "votes asked for"
    last = key.rpartition(".")[2]
    alone = sum(other.rpartition(".")[2] == last for other in keys) <= 1
    return last.replace("_", " ") if alone else key


def varying(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values differ; of keys that always differ together with the same values, the first."""
    columns: dict[tuple[Hashable, ...], str] = {}
    for key in dict.fromkeys(key for one in facts for key in one):
        column = tuple(as_key(one.get(key)) for one in facts)
        if len(set(column)) > 1:
            columns.setdefault(column, key)
    return list(columns.values())


def in_groups(facts: Sequence[Mapping[str, Any]], most: int) -> tuple[list[str], list[str]]:
    """The keys to part mappings by so that at most `most` of them are in a group, and the keys that are left.

    Keys of few values come first, so that the groups are few and large.
    """
    left = varying(facts)
    by: list[str] = []
    for key in sorted(left, key=lambda key: len({as_key(one.get(key)) for one in facts})):
        groups = [tuple(as_key(one.get(name)) for name in by) for one in facts]
        if max(map(groups.count, groups), default=0) <= most:
            break
        by.append(key)
    return by, [key for key in left if key not in by]


def as_key(value: Any) -> Hashable:
    """A value of a configuration as one that can be compared and counted; 1, 1.0 and true are three of them."""
    return json.dumps(value, sort_keys=True, default=str)


def value_in_words(value: Any) -> str:
    """A value of a configuration for readers."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _phrase(key: str, value: Any, keys: Sequence[str]) -> str:
    said, fact = value_in_words(value), FACT_OF_KEY.get(key, key)
    return WORDS[fact].format(said) if fact in WORDS else f"{heading(key, keys)} {said}"
