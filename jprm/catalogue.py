"""`python -m jprm list`: what can be chosen by name, and where each name is given."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats import FORMATS, benchmark
from jprm.formats.conversations import LAYOUTS
from jprm.label import label_rule
from jprm.models import PRESETS
from jprm.models.hf_config import FAMILIES
from jprm.registry import Registry, load_plugins
from jprm.rl import PRESETS as OBJECTIVES
from jprm.rl import row
from jprm.score import scorer
from jprm.search import aggregation, choice, strategy
from jprm.verify import EMBEDDED, protocol
from jprm.worlds import world


def catalogue() -> dict[str, dict[str, str]]:
    """Names and what they stand for, by kind and, in brackets, the place where they are given.

    Raises UserError as the registries do.
    """
    return {
        "scorers (evaluate --scorer, search --scorer)": _described(scorer),
        "strategies (search --strategy)": _described(strategy),
        "aggregations (search --aggregation)": _described(aggregation),
        "choices (search --choice)": _described(choice),
        "rows of credit (rl credit --rows)": _described(row),
        "objectives of reinforcement learning (jprm.rl.policy_loss)": dict.fromkeys(OBJECTIVES, ""),
        "benchmarks (evaluate --format)": _described(benchmark),
        "step formats (data convert --from, --to)": dict.fromkeys(FORMATS, ""),
        "layouts of training rows (data.path)": dict.fromkeys(LAYOUTS, ""),
        "worlds (world.kind)": _described(world),
        "label rules (grid.labels)": _described(label_rule) | {"exact": "What is true, where a world knows it."},
        "protocols (verify.protocol)": _described(protocol),
        "model sizes (grid.sizes)": {name: _sizes(name) for name in PRESETS},
        "checkpoint families (evaluate --model)": {name: family.architecture for name, family in FAMILIES.items()},
        "rationale styles": dict.fromkeys(EMBEDDED.openings, ""),
    }


def print_catalogue(plugins: Iterable[Path] = (), kind: str = "") -> None:
    """Prints the catalogue, with what a user's files register. kind: such as "scorers", alone; "" for all.

    Raises UserError, naming the nearest, for a kind that is none.
    """
    load_plugins(plugins)
    sections = {title.partition(" (")[0]: (title, names) for title, names in catalogue().items()}
    if wanted := " ".join(kind.replace("-", " ").split()):
        if wanted not in sections:
            near = difflib.get_close_matches(wanted, sections, n=1, cutoff=0.0)[0]
            raise UserError(f"{kind}: no such kind; did you mean {near!r}? there are {', '.join(sections)}")
        sections = {wanted: sections[wanted]}
    print("\n".join(_lines(sections.values())))


def _lines(sections: Iterable[tuple[str, dict[str, str]]]) -> Iterator[str]:
    for title, names in sections:
        yield title
        width = max(map(len, names), default=0)
        for name, about in names.items():
            yield f"  {name.ljust(width)}  {about}".rstrip()


def _described(registry: Registry[Any]) -> dict[str, str]:
    """The first line of the docstring of each entry, by name."""
    entries = ((name, _function(entry)) for name, entry in registry.entries().items())
    return {name: (about.__doc__ or "").strip().partition("\n")[0] for name, about in entries}


def _function(entry: Any) -> Any:
    """What was decorated: an entry may hold it beside what the decorator says."""
    return next((getattr(entry, part) for part in ("parse", "credit") if hasattr(entry, part)), entry)


def _sizes(name: str) -> str:
    about = PRESETS[name]
    return f"{about['n_layers']} layers of width {about['embed']}"
