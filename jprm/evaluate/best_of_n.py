"""Choosing one of N candidate solutions: verifier, majority vote, both, and the ceiling.

Every problem brings the same stored candidates to each method, and accuracy at k is the exact
expectation over k-subsets of them, so the methods differ in nothing but the choice.

Invariant: methods are compared on problems, paired; ties are shared (see estimators). A verifier that
judged none of the k candidates has chosen none of them: `missing` says what that counts.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.estimators import best_of_k, maj_at_k, pass_at_k
from jprm.evaluate.missing import Missing, accuracy_interval, check_missing, counted
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Difference, Interval, mean_difference
from jprm.evaluate.weighted_vote import weighted_shares

BY_SCORE = ("best", "weighted")


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """One sampled solution: final answer (None without one), its grade, the verifier's score.

    in_logs: the score is a logarithm, for products of many steps; the same for all of a problem.
    """

    answer: Hashable | None
    correct: bool
    score: float | None
    in_logs: bool = False


@dataclass(frozen=True)
class BestOfNAccuracy:
    """Expected accuracy per problem [P] for each (method, k), with shared resamples.

    missing [P] by k: P(none of the k candidates was judged), which is what `missing_as` says where
    the method goes by scores.
    """

    ks: tuple[int, ...]
    accuracy: dict[tuple[str, int], np.ndarray]
    resamples: Resamples
    missing: dict[int, np.ndarray]
    missing_as: Missing

    def interval(self, method: str, k: int) -> Interval:
        """Returns the accuracy of a method at k with its interval over problems."""
        missing = self.missing[k] if method in BY_SCORE else np.zeros(len(self.resamples.group))
        return accuracy_interval(self.accuracy[method, k], missing, self.missing_as, self.resamples)

    def gain(self, method: str, over: str, k: int) -> Difference:
        """Returns the accuracy of `method` minus that of `over` at k, paired by problem."""
        return mean_difference(self.accuracy[over, k], self.accuracy[method, k], self.resamples)

    def missing_share(self, method: str, k: int) -> float:
        """Returns the share of the choices for which no candidate was judged, where the method needs one."""
        return float(self.missing[k].mean()) if method in BY_SCORE else 0.0


def best_of_n(
    problems: Sequence[Sequence[ScoredCandidate]],
    ks: Sequence[int],
    *,
    problem_ids: Sequence[Hashable] | None = None,
    seed: int = 0,
    missing: Missing = "wrong",
) -> BestOfNAccuracy:
    """Measures the expected accuracy of every method at every k over `problems` [P][M].

    "pass": any correct; "best": the highest score; "majority": plurality of answers; "weighted": the answer with the
    largest sum of scores. A method that ends without an answer is wrong; `missing` says what counts where none of the k
    candidates has a score (`jprm.evaluate.missing`). Raises UserError when a k exceeds the candidates of some problem.
    """
    check_missing(missing)
    if not problems:
        raise UserError("best-of-N needs at least one problem")
    accuracy: dict[tuple[str, int], np.ndarray] = {}
    for k in ks:
        accuracy["pass", k] = np.array([pass_at_k(len(c), sum(x.correct for x in c), k) for c in problems])
        accuracy["best", k] = np.array(
            [best_of_k([x.score for x in c], [x.correct for x in c], k, logs=_in_logs(c)) for c in problems]
        )
        accuracy["majority", k] = np.array([_majority(c, k) for c in problems])
    weighted = [_weighted(c, ks) for c in problems]
    for at, k in enumerate(ks):
        accuracy["weighted", k] = np.array([shares[at] for shares in weighted])
    ids = range(len(problems)) if problem_ids is None else problem_ids
    silent = {k: np.array([1.0 - _judged(c, k) for c in problems]) for k in ks}
    for method, k in accuracy:
        if method in BY_SCORE:
            accuracy[method, k] = counted(accuracy[method, k], silent[k], missing)
    resamples = Resamples.of(list(ids), seed=seed)
    return BestOfNAccuracy(tuple(ks), accuracy, resamples, silent, missing)


def _in_logs(candidates: Sequence[ScoredCandidate]) -> bool:
    return any(c.in_logs for c in candidates if c.score is not None)


def _judged(candidates: Sequence[ScoredCandidate], k: int) -> float:
    """Returns P(any of k candidates was judged)."""
    return pass_at_k(len(candidates), sum(c.score is not None for c in candidates), k)


def _right_answers(candidates: Sequence[ScoredCandidate]) -> set[Hashable]:
    """Returns the answers graded correct (several spellings may be); None never is."""
    right = {c.answer for c in candidates if c.correct and c.answer is not None}
    wrong = {c.answer for c in candidates if not c.correct}
    if right & wrong:
        raise UserError(f"answer {next(iter(right & wrong))!r} is graded both right and wrong")
    return right


def _majority(candidates: Sequence[ScoredCandidate], k: int) -> float:
    votes = [c.answer for c in candidates]
    return sum(maj_at_k(votes, answer, k) for answer in _right_answers(candidates))


def _weighted(candidates: Sequence[ScoredCandidate], ks: Sequence[int]) -> list[float]:
    """Returns the accuracy of the weighted vote at each k."""
    answers, scores = [c.answer for c in candidates], [c.score for c in candidates]
    return weighted_shares(answers, scores, _right_answers(candidates), ks, _in_logs(candidates))
