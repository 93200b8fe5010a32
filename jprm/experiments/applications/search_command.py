"""`python -m jprm search`: one strategy on a finished sweep's policy and verifier."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.digests import file_digest
from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Interval, Missing, check_missing
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.finished import read_sweep_config, trained_policy, trained_verifier
from jprm.experiments.sweep.table import MISSING_AS
from jprm.jobs import StageFailed, Stages, open_run
from jprm.score import find_scorer
from jprm.search import Choosing, aggregation, choice, load_plugins, make_strategy, summary
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.search import ROWS, Search
from jprm.terminal import say
from jprm.verify import ONE_VOTE
from jprm.worlds.base import Split


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """What stands on the command line."""

    run: Path
    strategy: str
    settings: tuple[str, ...] = ()  # key=value of the strategy
    scorer: str = "genprm"
    votes: int = 2
    problems: int = 100
    split: Split = "dev"
    aggregation: str = "min"
    choice: str = "argmax"
    missing: Missing = "wrong"
    plugin: Path | None = None
    out: Path | None = None


def print_search(options: SearchOptions) -> int:
    """Searches what has no row yet, prints accuracy, cost and losses, and returns the exit code.

    The rows are kept in a stage of the run, and copied to `out` where that is given. Raises UserError for unknown names
    and settings, and where the sweep is not finished.
    """
    if options.plugin is not None:
        load_plugins(options.plugin)
    _check_names(options)
    config = run_config(options.run)
    settings = settings_of(options.settings)
    make_strategy(options.strategy, **settings)
    sweep, stages = Sweep(config), Stages(options.run)
    trained_verifier(options.run, sweep, stages)
    votes = config.verify.draws(options.votes)
    search = Search(
        options.strategy,
        json.dumps(settings, sort_keys=True),
        trained_policy(options.run, sweep, stages),
        sweep.main.sampling,
        votes,
        options.problems,
        options.split,
        scorer=options.scorer,
        plugin=file_digest(options.plugin) if options.plugin else "",
        direct_learning_rate=config.learning_rate.direct if isinstance(config, ApplicationsConfig) else None,
    )
    with (
        Resources() as resources,
        open_run(options.run, [search], resources, speed=Speed(), mix_versions=True) as runner,
    ):
        try:
            stage = runner.ensure(search)
        except StageFailed as error:
            raise UserError(error.failure.reason) from error
    rows = search.rows(runner.stages)
    if options.out is not None:
        shutil.copy(stage.file(ROWS), options.out)
    by = Choosing(options.aggregation, options.choice, missing=options.missing)
    found = summary(rows, by)
    at = Interval(found["accuracy"], found["low"], found["high"])
    print(
        f"{options.strategy}, {options.choice} by {options.aggregation}: accuracy {at}, "
        f"{found['n_problems']} problems; without a judged "
        f"candidate {found['missing_share']:.1%}, {MISSING_AS[options.missing]}"
    )
    print(
        f"a problem: {found['generator_tokens']:.0f} tokens of the policy, {found['verifier_tokens']:.0f} of the "
        f"scorer, {found['flops']:.3g} FLOPs"
    )
    if votes < options.votes:
        print(f"verify.temperature = 0: {ONE_VOTE}")
    for reason, n in found["lost"].items():
        say(f"lost: {n} of {len(rows)} problems: {reason}")
    say(f"rows: {options.out or stage.file(ROWS)}")
    return INCOMPLETE if found["lost"] else 0


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """The settings of a strategy from key=value words; values are TOML, else text. Raises UserError."""
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, raw = word.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"{word!r} is no setting; write key=value, such as width=4")
        try:
            settings[key] = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = raw
    return settings


def run_config(run: Path) -> SweepConfig:
    """The configuration of a finished sweep, or of a run of `experiments/uses.py`. Raises UserError."""
    path = run / "config.json"
    if path.is_file() and '"fast_slow"' in (text := path.read_text(encoding="utf-8")):
        try:
            config = ApplicationsConfig.model_validate_json(text)
        except ValueError:
            raise UserError(f"{path}: damaged, or of another version; run it again") from None
        return config.model_copy(update={"directory": run.parent, "name": run.name})
    return read_sweep_config(run)


def _check_names(options: SearchOptions) -> None:
    """Answers a wrong name before anything is loaded."""
    find_scorer(options.scorer)
    aggregation[options.aggregation]
    choice[options.choice]
    check_missing(options.missing)
    if options.split not in ("train", "dev", "test"):
        raise UserError(f"--split {options.split}: must be train, dev or test")
