"""`python -m jprm search`: one strategy on a finished sweep's policy and verifier."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.config import fingerprint
from jprm.digests import file_digest
from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Interval, Missing, check_missing
from jprm.pipeline.cells import grid_cells
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.finished import read_sweep_config
from jprm.pipeline.lab import Lab
from jprm.pipeline.policy import policy_base
from jprm.pipeline.table import MISSING_AS
from jprm.pipeline.verifier import Verifier
from jprm.search import Choosing, aggregation, choice, load_plugins, make_strategy, run_identity, summary
from jprm.terminal import say
from jprm.uses.config import UsesConfig
from jprm.uses.registered import registered_scorer
from jprm.uses.searched import Searched, sampling_inputs, search, search_problems, whole_steps
from jprm.verify import ONE_VOTE


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """What stands on the command line."""

    run: Path
    strategy: str
    settings: tuple[str, ...] = ()  # key=value of the strategy
    scorer: str = "genprm"
    votes: int = 2
    problems: int = 100
    split: str = "dev"
    aggregation: str = "min"
    choice: str = "argmax"
    missing: Missing = "wrong"
    plugin: Path | None = None
    out: Path | None = None


def print_search(options: SearchOptions) -> int:
    """Searches what has no row yet and prints accuracy, cost and losses; the exit code.

    The rows lie in `out`, by default `<run>/searches/`, one file per strategy, settings and scorer.
    Raises UserError for unknown names and settings, and where the sweep is not finished.
    """
    if options.plugin is not None:
        load_plugins(options.plugin)
    _check_names(options)
    settings = settings_of(options.settings)
    strategy = make_strategy(options.strategy, **settings)
    config = run_config(options.run)
    with Lab(config, None) as lab:
        main = trained_verifier(lab, options.run)
        votes = config.verify.draws(options.votes)
        asked = {"scorer": options.scorer, "votes": votes, "split": options.split}
        models = {"verifier": main, "policy": policy_base(lab, main.seed)}
        inputs = asked | {role: lab.stage(task).key for role, task in models.items()}
        inputs["plugin"] = file_digest(options.plugin) if options.plugin else ""
        inputs |= {"version": Searched.version} | sampling_inputs(lab)
        name = f"{options.strategy}-{fingerprint(run_identity(strategy, inputs))[:8]}.jsonl"
        store = options.out or options.run / "searches" / name
        store.parent.mkdir(parents=True, exist_ok=True)
        scorer = whole_steps(lab, main, registered_scorer(lab, main, options.scorer, votes))
        rows = search(
            lab,
            search_problems(lab, options.split, options.problems, main.seed),
            options.strategy,
            settings,
            scorer,
            store,
            seed=main.seed,
            inputs=inputs,
            progress=lab.progress.show,
        )
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
    say(f"rows: {store}")
    return INCOMPLETE if found["lost"] else 0


def trained_verifier(lab: Lab, run: Path) -> Verifier:
    """The main verifier of a run. Raises UserError where it, or the policy, is not trained yet."""
    main = grid_cells(lab.config)[0].votes.verifier
    for task in (policy_base(lab, main.seed), main):
        if not lab.stage(task).done:
            raise UserError(f"{run}: {task.label} is not trained yet; finish the run first")
    return main


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
            config = UsesConfig.model_validate_json(text)
        except ValueError:
            raise UserError(f"{path}: damaged, or of another version; run it again") from None
        return config.model_copy(update={"directory": run.parent, "name": run.name})
    return read_sweep_config(run)


def _check_names(options: SearchOptions) -> None:
    """Answers a wrong name before anything is loaded."""
    aggregation[options.aggregation]
    choice[options.choice]
    check_missing(options.missing)
    if options.split not in ("train", "dev", "test"):
        raise UserError(f"--split {options.split}: must be train, dev or test")
