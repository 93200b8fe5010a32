"""The vote curve of a cell, kept beside its votes: a table of hundreds of finished cells reads no rationale again.

What is kept is a function of the votes, of the read-out, and of the code that made it, all of which name the file. A
file of votes that was touched since counts as another, so that damage to it is still found.
"""

import dataclasses
import functools
import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import jprm.evaluate
import jprm.scaling
import jprm.tasks.vote_store
import jprm.ties
from jprm.config import fingerprint
from jprm.evaluate import Interval, Missing, Resamples, VoteCurve, vote_curve
from jprm.jobs import Stages, unique_suffix, write_atomic
from jprm.records import ReadOut
from jprm.scaling import Fit, fit_votes
from jprm.tasks.benchmark import load_known
from jprm.tasks.vote_store import RATIONALES, stream_rewards
from jprm.tasks.votes import Votes


@dataclass(frozen=True)
class Curve:
    """A vote curve with what is read off it: a row per number of votes, and the law fitted to them."""

    votes: VoteCurve
    points: list[dict[str, Any]]
    fit: Fit


def curve_of(stages: Stages, votes: Votes, missing: Missing) -> Curve:
    """The curve of finished votes, from the file that was left the last time, if there is one.

    missing: what a solution without a verdict counts as.
    """
    stage, readout = stages[votes], votes.sampling.readout
    source = (stage.path / RATIONALES).stat()
    name = fingerprint(
        {
            "n_votes": votes.n_votes,
            "readout": readout,
            "missing": missing,
            "code": _code(),
            "source": [source.st_size, source.st_mtime_ns],
        }
    )
    path = stage.file(f"curve-{name}.npz")
    if (kept := _read(path)) is None:
        kept = _compute(stages, votes, readout, missing)
        write_atomic(path, _packed(kept[0], kept[1]), unique_suffix())
    curve, problem_ids = kept
    return dataclasses.replace(
        curve, votes=dataclasses.replace(curve.votes, resamples=Resamples.of(problem_ids, seed=0))
    )


def _compute(stages: Stages, votes: Votes, readout: ReadOut, missing: Missing) -> tuple[Curve, list[str]]:
    items, labels = load_known(stages[votes.benchmark])
    rewards = dict(stream_rewards(stages[votes].file(RATIONALES), votes.n_votes, readout))
    problem_ids = [item.problem.id for item in items]
    judged = [rewards[item.solution.id] for item in items]
    curve = vote_curve(judged, labels, problem_ids, missing=missing)  # pyright: ignore[reportArgumentType]
    f1s = [curve.score(k).f1 for k in curve.ks]
    return Curve(curve, curve.rows(), fit_votes(curve.ks, f1s, curve.samples())), problem_ids


def _packed(curve: Curve, problem_ids: list[str]) -> bytes:
    votes = curve.votes
    told = {
        "none_share": votes.none_share,
        "missing_as": votes.missing_as,
        "problem_ids": problem_ids,
        "points": curve.points,
        "fit": dataclasses.asdict(curve.fit),
    }
    file = io.BytesIO()
    np.savez(
        file,
        ks=np.array(votes.ks),
        labels=votes.labels,
        right=votes.right,
        missing=votes.missing,
        exact=np.array(votes.exact),
        told=np.frombuffer(json.dumps(told).encode(), np.uint8),
    )
    return file.getvalue()


def _read(path: Path) -> tuple[Curve, list[str]] | None:
    """None where there is no such file, or it is damaged: it can be made again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            told = json.loads(arrays["told"].tobytes())
            curve = VoteCurve(
                ks=tuple(arrays["ks"].tolist()),
                labels=arrays["labels"],
                right=arrays["right"],
                exact=tuple(arrays["exact"].tolist()),
                none_share=told["none_share"],
                resamples=Resamples.of(["any"], resamples=1),  # replaced by the caller
                missing=arrays["missing"],
                missing_as=told["missing_as"],
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    parameters = {name: Interval(**p) for name, p in told["fit"]["parameters"].items()}
    fit = Fit(**told["fit"] | {"parameters": parameters})
    return Curve(curve, told["points"], fit), told["problem_ids"]


@functools.cache
def _code() -> str:
    """A digest of the code that makes a curve: what another version has kept is not read."""
    digest = hashlib.sha256()
    folders = [*jprm.scaling.__path__, *jprm.evaluate.__path__]
    files = [path for folder in sorted(folders) for path in sorted(Path(folder).glob("*.py"))]
    own = (Path(file) for file in (jprm.ties.__file__, jprm.tasks.vote_store.__file__, __file__))
    for path in [*files, *own]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
