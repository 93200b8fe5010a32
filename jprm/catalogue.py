"""`python -m jprm list`: what can be chosen by name, and where each name is given."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jprm.formats import BENCHMARKS, FORMATS
from jprm.formats.conversations import LAYOUTS
from jprm.models import PRESETS
from jprm.models.hf_config import FAMILIES
from jprm.registry import Registry
from jprm.score import scorer
from jprm.search import aggregation, choice, load_plugins, strategy
from jprm.verify import EMBEDDED
from jprm.worlds import WORLDS


def catalogue() -> dict[str, dict[str, str]]:
    """Names and what they stand for, by the place where they are given. Raises UserError as the registries do."""
    return {
        "scorers (evaluate --scorer, search --scorer)": _described(scorer),
        "strategies (search --strategy)": _described(strategy),
        "aggregations (search --aggregation)": _described(aggregation),
        "choices (search --choice)": _described(choice),
        "benchmarks (evaluate --format)": dict.fromkeys(BENCHMARKS, ""),
        "step formats (data convert --from, --to)": dict.fromkeys(FORMATS, ""),
        "layouts of training rows (data.path)": dict.fromkeys(LAYOUTS, ""),
        "worlds (world.kind)": {name: "" for name in WORLDS},
        "model sizes (grid.sizes)": {name: _sizes(name) for name in PRESETS},
        "checkpoint families (evaluate --model)": {name: family.architecture for name, family in FAMILIES.items()},
        "rationale styles": dict.fromkeys(EMBEDDED.openings, ""),
    }


def print_catalogue(plugin: Path | None) -> None:
    """Prints the catalogue, with what a user's file registers where one is given."""
    if plugin is not None:
        load_plugins(plugin)
    print("\n".join(_lines(catalogue().items())))


def _lines(sections: Iterable[tuple[str, dict[str, str]]]) -> Iterator[str]:
    for title, names in sections:
        yield title
        width = max(map(len, names), default=0)
        for name, about in names.items():
            yield f"  {name.ljust(width)}  {about}".rstrip()


def _described(registry: Registry[Any]) -> dict[str, str]:
    """The first line of the docstring of each entry, by name."""
    return {name: (entry.__doc__ or "").strip().partition("\n")[0] for name, entry in registry.entries().items()}


def _sizes(name: str) -> str:
    about = PRESETS[name]
    return f"{about['n_layers']} layers of width {about['embed']}"
