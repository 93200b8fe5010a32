"""What `[search]` asks for: strategies, scorers, settings, each by name; checked before JAX is loaded."""

import itertools
from collections.abc import Sequence
from typing import Any

from jprm.errors import UserError
from jprm.experiments.applications.config import SearchSection
from jprm.models.locate import find_directory
from jprm.score import find_scorer
from jprm.search import make_strategy


def check_search(search: SearchSection) -> None:
    """Raises UserError for a name or a setting that is wrong, before anything runs."""
    for name in search.scorers:
        find_scorer(name)
    for name, model in search.models.items():
        if name not in search.scorers:
            raise UserError(f"search.models.{name}: not among search.scorers")
        if find_scorer(name).samples:
            raise UserError(f"search.models.{name}: this scorer writes text, for which a search has the run's verifier")
        find_directory(model, f"search.models.{name}")
    for name in search.strategies:
        for settings in settings_of(search, name):
            make_strategy(name, **settings)
    if unused := sorted(search.settings.keys() - {*search.strategies}):
        raise UserError(f"search.settings.{unused[0]}: not among search.strategies")


def settings_of(search: SearchSection, strategy: str) -> list[dict[str, Any]]:
    """The settings of a strategy: its sizes and one value of each list, in every combination."""
    sizes: dict[str, Any] = {}
    if strategy in ("beam", "dvts", "lookahead"):
        sizes = {"width": search.width, "expand": search.expand}
    elif strategy == "mcts":
        sizes = {"walks": search.width * search.expand, "expand": search.expand}
    if strategy == "lookahead":
        sizes["greedy"] = False
    own = sizes | search.settings.get(strategy, {})
    axes = [v if isinstance(v, Sequence) and not isinstance(v, str) else [v] for v in own.values()]
    return [dict(zip(own, values, strict=True)) for values in itertools.product(*axes)]
