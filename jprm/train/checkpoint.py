"""Checkpoints of a training run: the one file that knows Orbax.

A checkpoint is complete or it does not exist: Orbax writes into a temporary folder and renames it,
so a killed save leaves the previous checkpoint as the newest. Saving is asynchronous. Loading is
always given the shapes and shardings that are wanted, so that a run may resume on another mesh, or
another number of processes, than it was saved from. Every process calls every method.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from jprm.errors import Unwritable, UserError
from jprm.runs import provenance

KEPT = 2

# Each of Orbax's threads logs the whole chain of an error that also reaches the caller: a full disk
# would be six hundred lines.
logging.getLogger("absl").addFilter(
    lambda record: not (record.exc_info and "orbax" in record.pathname)
)


class Checkpoints:
    """The checkpoints of one run in one directory. Leaving the context waits for the last save."""

    def __init__(self, directory: Path, identity: dict, keep: int = KEPT):
        """`identity`, flat JSON, says which run this is: another run is refused the directory.

        The newest `keep` checkpoints stay.
        """
        self.directory = Path(directory).absolute()
        self._identity = json.loads(json.dumps(identity))
        newest: Any = ocp.training.preservation_policies.LatestN(keep)
        with self._errors_named():
            self._checkpointer = ocp.training.Checkpointer(
                str(self.directory),
                preservation_policy=newest,
                cleanup_tmp_directories=True,
            )

    def save(self, step: int, tree: dict, notes: dict) -> None:
        """Starts saving `tree` (arrays) and `notes` (JSON); a save under way is waited for first.

        The arrays are copied on their device, because the caller donates them to its next step
        while Orbax reads. Raises UserError where a save, this or the one before, cannot be written.
        """
        versions = provenance()["packages"]
        metadata = {"identity": self._identity, "notes": notes, "versions": versions}
        copied = jax.tree.map(jnp.copy, tree)
        with self._errors_named():
            self._checkpointer.save_async(step, copied, force=True, custom_metadata=metadata)

    def restore(self, wanted: dict) -> tuple[dict, dict] | None:
        """(tree, notes) of the newest complete checkpoint, laid out as `wanted` (arrays, specs).

        A save under way is waited for. None when there is none. Raises UserError when it belongs to
        another run, naming the keys that differ, and when it cannot be read.
        """
        with self._errors_named():
            self._checkpointer.wait()
        newest = self._checkpointer.latest
        if newest is None:
            return None
        metadata: Any = self._checkpointer.metadata(newest).custom_metadata
        self._check(metadata["identity"])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted
        )
        try:
            tree: Any = self._checkpointer.load(newest, abstract)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self.directory / str(newest.step)}: cannot read the checkpoint ({reason}); delete that "
                "folder to go on from the one before"
            ) from error
        return tree, metadata["notes"]

    def close(self) -> None:
        """Waits for the save under way. Raises UserError where it cannot be written."""
        with self._errors_named():
            self._checkpointer.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """What the file system or TensorStore refuses, as an error of the user's that names the place."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise Unwritable(
                f"{self.directory}: cannot save a checkpoint ({reason}); the last complete one is "
                "kept: free the space, and the same command goes on from it"
            ) from error

    def _check(self, found: dict) -> None:
        keys = sorted(found.keys() | self._identity.keys())
        different = [
            f"{key} (there {found.get(key)!r}, here {self._identity.get(key)!r})"
            for key in keys
            if found.get(key) != self._identity.get(key)
        ]
        if different:
            raise UserError(
                f"{self.directory}: checkpoints of another run: other {', '.join(different)}; "
                "delete that folder or choose another"
            )
