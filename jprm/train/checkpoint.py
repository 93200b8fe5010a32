"""Checkpoints of a training run: the one file that knows Orbax.

A checkpoint is complete or it does not exist: Orbax writes into a temporary folder and renames it, so a killed save
leaves the previous checkpoint as the newest. Saving is asynchronous on accelerators; on a CPU, where Orbax would read
the very memory that the next step overwrites, it is waited for, which takes no copy of the state. Loading is always
given the shapes and shardings that are wanted, so that a run may resume on another mesh, or another number of
processes, than it was saved from. Every process calls every method.

What happens to a complete checkpoint later is noticed by the SHA-256 of its files, which are left
beside them: Orbax has no checksum of the numbers (its zarr3 stores are compressed with `checksum:
False`), so one that lost a bit would be loaded as if nothing were.
"""

import concurrent.futures
import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from jprm import strict_json
from jprm.digests import damage, inventory
from jprm.errors import Unwritable, UserError, one_line
from jprm.jobs import provenance, write_atomic
from jprm.terminal import say

KEPT = 2
DIGESTS = "digests.json"  # the file of a checkpoint's folder that holds the digests of all others
DAMAGED = "damaged-"  # with its step behind, the name of a checkpoint that was set aside

# Each of Orbax's threads logs the whole chain of an error that also reaches the caller, which makes six hundred
# lines of a full disk.
logging.getLogger("absl").addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))


class Checkpoints:
    """The checkpoints of one run in one directory. Leaving the context waits for the last save."""

    def __init__(self, directory: Path, identity: dict, keep: int = KEPT):
        """`identity`, flat JSON, says which run this is: another run is refused the directory.

        The newest `keep` checkpoints stay. Those after the newest intact one are set aside, in one
        line each. Raises UserError where none is intact.
        """
        self.directory = Path(directory).absolute()
        self._identity = json.loads(json.dumps(identity))
        if jax.process_index() == 0:
            _set_aside_damaged(self.directory)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checkpoints")
        newest: Any = ocp.training.preservation_policies.LatestN(keep)
        with self._errors_named():
            self._checkpointer = ocp.training.Checkpointer(
                str(self.directory), preservation_policy=newest, cleanup_tmp_directories=True
            )
        self._threads = concurrent.futures.ThreadPoolExecutor(1, "checkpoint digests")
        self._sealing: concurrent.futures.Future | None = None

    def save(self, step: int, tree: dict, notes: dict) -> None:
        """Starts saving `tree` (arrays) and `notes` (JSON); a save under way is waited for first.

        The caller may donate the arrays to its next step: when this returns, Orbax has its own in the host's memory, or
        is done. Raises UserError where a save, this or the one before, cannot be written.
        """
        metadata = {"identity": self._identity, "notes": notes, "versions": provenance()["packages"]}
        with self._errors_named():
            self._wait()
            response = self._checkpointer.save_async(step, tree, force=True, custom_metadata=metadata)
            if jax.default_backend() == "cpu":
                self._checkpointer.wait()
            if jax.process_index() == 0:
                self._sealing = self._threads.submit(_seal, self.directory / str(step), response)

    def restore(self, wanted: dict) -> tuple[dict, dict] | None:
        """Loads (tree, notes) of the newest intact checkpoint, laid out as `wanted` (arrays, specs).

        A save under way is waited for. None when there is none. Raises UserError when it belongs to
        another run, naming the keys that differ, and when it cannot be read.
        """
        with self._errors_named():
            self._wait()
        newest = self._checkpointer.latest
        if newest is None:
            return None
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted)
        try:
            metadata: Any = self._checkpointer.metadata(newest).custom_metadata
            self._check(metadata["identity"])
            tree: Any = self._checkpointer.load(newest, abstract)
        except UserError:
            raise
        except Exception as error:  # what Orbax and TensorStore raise depends on the file
            raise UserError(
                f"{self.directory / str(newest.step)}: cannot read the checkpoint ({one_line(error)}); "
                "delete that folder to go on from the one before"
            ) from error
        return tree, metadata["notes"]

    def close(self) -> None:
        """Waits for the save under way. Raises UserError where it cannot be written."""
        with self._errors_named(), self._threads:
            try:
                self._wait()
            finally:
                self._checkpointer.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _wait(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()
        self._checkpointer.wait()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turns what the file system or TensorStore refuses into an error that names the place."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise Unwritable(
                f"{self.directory}: cannot save a checkpoint ({one_line(error)}); the last complete one is "
                "kept: free the space, and the same command goes on from it"
            ) from error

    def _check(self, found: dict) -> None:
        pairs = {key: (found.get(key), self._identity.get(key)) for key in sorted(found.keys() | self._identity.keys())}
        different = [f"{key} (there {there!r}, here {here!r})" for key, (there, here) in pairs.items() if there != here]
        if different:
            raise UserError(
                f"{self.directory}: checkpoints of another run: other {', '.join(different)}; "
                "delete that folder or choose another"
            )


def _seal(folder: Path, response: Any) -> None:
    """Leaves the digests of a checkpoint in its folder once it is complete. Raises what its save raises."""
    if response.result():
        write_atomic(folder / DIGESTS, json.dumps(inventory(folder), indent=1))


def _set_aside_damaged(directory: Path) -> None:
    """Renames the checkpoints that are newer than the newest intact one. Raises UserError where none is."""
    steps = sorted((int(p.name) for p in directory.glob("*") if p.name.isdigit()), reverse=True)
    for step in steps:
        folder = directory / str(step)
        wrong = _damage(folder)
        if not wrong:
            return
        say(f"{folder}/{wrong}; going on from the checkpoint before it", sys.stderr)
        aside = directory / f"{DAMAGED}{step}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        except OSError as error:
            raise UserError(f"{folder}: damaged, and cannot be renamed ({error.strerror})") from None
    if any(directory.glob(f"{DAMAGED}*")):
        raise UserError(f"{directory}: every checkpoint is damaged; delete that folder to begin with the first step")


def _damage(folder: Path) -> str:
    """Returns what is wrong with a checkpoint; "" where nothing is, or where it has no digests to compare with.

    It has none where its run was killed in the moment after it became complete.
    """
    try:
        found = strict_json.parse((folder / DIGESTS).read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{DIGESTS}: cannot be read ({one_line(error)})"
    return damage(folder, found) if isinstance(found, dict) else f"{DIGESTS}: not a JSON object"
