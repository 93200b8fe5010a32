"""What lies in the run directory of an evaluation."""

import json
from pathlib import Path


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def votes(directory: Path) -> dict:
    """The stored votes of all stages, finished or not, by the row's name, the step and the vote."""
    names = {row["solution_id"]: row["id"] for path in directory.glob("stages/*/rows.jsonl") for row in rows(path)}
    stored = [row for path in directory.glob("stages/votes-*/votes.jsonl") for row in rows(path)]
    for path in directory.glob("stages/votes-*/rationales.jsonl"):
        stored += [rationale for row in rows(path) for rationale in row["rationales"]]
    return {(names[row["solution_id"]], row["step"], row["vote"]): row for row in stored}


def logged(directory: Path) -> int:
    """How many votes lie in the logs of unfinished stages."""
    return sum(len(path.read_bytes().splitlines()) for path in directory.glob("stages/votes-*/votes.jsonl"))


def contents(directory: Path) -> dict[Path, bytes]:
    """The bytes of every file of the stages."""
    return {path: path.read_bytes() for path in sorted(directory.glob("stages/*/*"))}
