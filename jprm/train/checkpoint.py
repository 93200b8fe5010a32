"""Checkpoints of a training run: the one file that knows Orbax.

A checkpoint is complete or it does not exist: Orbax writes into a temporary folder and renames it,
so a killed save leaves the previous checkpoint as the newest. Saving is asynchronous. Loading is
always given the shapes and shardings that are wanted, so that a run may resume on another mesh than
the one it was saved from.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from jprm.errors import UserError

KEPT = 2


class Checkpoints:
    """The checkpoints of one run in one directory. Leaving the context waits for the last save."""

    def __init__(self, directory: Path, identity: dict):
        """`identity`, flat JSON, says which run this is: another run is refused the directory."""
        self.directory = Path(directory).absolute()
        self._identity = json.loads(json.dumps(identity))
        newest: Any = ocp.training.preservation_policies.LatestN(KEPT)
        self._checkpointer = ocp.training.Checkpointer(
            str(self.directory),
            preservation_policy=newest,
            cleanup_tmp_directories=True,
        )

    def save(self, step: int, tree: dict, notes: dict) -> None:
        """Starts saving `tree` (arrays) and `notes` (JSON); a save under way is waited for first.

        The arrays are copied on their device, because the caller donates them to its next step
        while Orbax reads.
        """
        metadata = {"identity": self._identity, "notes": notes}
        copied = jax.tree.map(jnp.copy, tree)
        self._checkpointer.save_async(step, copied, force=True, custom_metadata=metadata)

    def restore(self, wanted: dict) -> tuple[dict, dict] | None:
        """(tree, notes) of the newest complete checkpoint, laid out as `wanted` (arrays, specs).

        None when there is none. Raises UserError when it belongs to another run, naming the keys
        that differ.
        """
        newest = self._checkpointer.latest
        if newest is None:
            return None
        metadata: Any = self._checkpointer.metadata(newest).custom_metadata
        self._check(metadata["identity"])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted
        )
        tree: Any = self._checkpointer.load(newest, abstract)
        return tree, metadata["notes"]

    def close(self) -> None:
        """Waits for the save under way."""
        self._checkpointer.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

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
