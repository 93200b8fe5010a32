"""Judging a solution of one's own with a verifier that a sweep has trained."""

from pathlib import Path

from jprm.errors import UserError
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.finished import read_sweep_config, trained_verifier
from jprm.jobs import Progress, Stages
from jprm.records import Rationale, Solution
from jprm.seeds import seed_of
from jprm.tasks.resources import Resources
from jprm.terminal import terminal
from jprm.verify import ONE_VOTE, first_error, mean_reward
from jprm.verify import verify as run_verify
from jprm.worlds.base import make_problem


def print_score(run: Path, problem_text: str, steps_file: Path, n_votes: int) -> None:
    """Judges every step and prints P(Yes), the votes, the code that ran and its output.

    Raises UserError where there is no trained verifier, or the text cannot be written in its vocabulary.
    """
    steps = _steps(steps_file)
    sweep, stages = Sweep(read_sweep_config(run)), Stages(run)
    verifier = trained_verifier(run, sweep, stages)
    verify, kind = verifier.verify, verifier.world.kind
    problem = make_problem(kind, problem_text.strip() + "\n", "", "", "")
    named = enumerate(steps, 1)
    for name, text in (("--problem", problem.text), *((f"{steps_file}:{i}", step) for i, step in named)):
        if not verifier.base.tokenizer.accepts(text):
            raise UserError(f"{name}: the {kind} world has no words for {text.strip()!r}")
    solution = Solution(seed_name(problem_text, steps), problem.id, steps, "given")
    sampling = sweep.main.sampling
    drawn = verify.draws(n_votes)
    with Resources() as resources:
        progress = Progress(1.0)
        [rationales] = run_verify(
            [(problem, solution)],
            range(drawn),
            sampling.engine(stages),
            resources.pool(verify, progress),
            verifier.base.tokenizer,
            sampling.settings,
            seed_of(verifier.seed, "score"),
        )
        progress.close()
    if drawn < n_votes:
        print(f"temperature 0: {ONE_VOTE}")
    _print(steps, rationales, verify.readout)


def seed_name(problem: str, steps: tuple[str, ...]) -> str:
    """A name for the solution: the same text is judged the same way every time."""
    return f"{seed_of(0, 'given', problem, *steps):016x}"


def _steps(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the steps ({error})") from None
    steps = tuple(line + "\n" for line in text.splitlines() if line.strip())
    if not steps:
        raise UserError(f"{path}: no steps in it; write one step per line")
    return steps


def _print(steps: tuple[str, ...], rationales: list[Rationale], readout: str) -> None:
    console = terminal(soft_wrap=True)
    means = []
    for t, step in enumerate(steps):
        here = [r for r in rationales if r.step == t]
        mean = mean_reward([r.verdict.reward(readout) for r in here])  # type: ignore[arg-type]
        means.append(mean)
        votes = "".join({True: "Y", False: "N", None: "-"}[r.verdict.correct] for r in here)
        shown = "no judgement" if mean is None else f"P(Yes) {mean:.3f}"
        console.print(f"step {t + 1}", f" {shown}  votes {votes}  {step.strip()}")
        for r in dict.fromkeys(r.text for r in here):
            times = sum(other.text == r for other in here)
            console.print(f"    {times} x {r.strip()}".replace("\n", "\n        "))
    error = first_error(means)
    if error is None:
        open_step = means.index(None) + 1
        console.print(f"no verdict: no vote judged step {open_step}, which the verdict needs")
    else:
        console.print("no step is judged wrong" if error < 0 else f"first wrong step: {error + 1}")
