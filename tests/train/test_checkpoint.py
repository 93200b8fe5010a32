"""Whatever happens to the newest checkpoint on disk, it is noticed, and the one before it is gone on from."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.train.checkpoint import Checkpoints

IDENTITY = {"seed": 1}


def state(step):
    """Numbers that are told apart by their step, to the bit."""
    leaf = jnp.arange(64, dtype=jnp.float32).reshape(8, 8)
    return {"weights": leaf + step, "half": (leaf * step).astype(jnp.bfloat16), "step": jnp.int32(step)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    with Checkpoints(folder, IDENTITY) as kept:
        for step in (1, 2):
            kept.save(step, state(step), {"tokens": 10 * step})
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(folder):
    """The step of what is restored; that all of it is that step's."""
    with Checkpoints(folder, IDENTITY) as kept:
        found = kept.restore(state(0))
    if found is None:
        return None
    tree, notes = found
    step = int(tree["step"])
    assert notes == {"tokens": 10 * step}
    jax.tree.map(np.testing.assert_array_equal, tree, state(step))
    return step


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def flip(data, seed=0):
    bit = np.random.default_rng(seed).integers(8 * len(data))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


HARM = {"flipped": flip, "truncated": lambda data: data[: len(data) // 2], "emptied": lambda data: b"", "deleted": None}


@pytest.mark.parametrize("harm", HARM)
def test_damage_to_any_file_of_the_newest_is_noticed(saved, tmp_path, capfd, harm):
    for number, file in enumerate(path.relative_to(saved) for path in files(saved / "2")):
        folder = shutil.copytree(saved, tmp_path / str(number))
        if HARM[harm] is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(HARM[harm]((folder / file).read_bytes()))
        sealed = (folder / "2" / "digests.json").exists()  # else nothing says that it is damaged, and it is not
        assert restored(folder) == (1 if sealed else 2), file
        told = capfd.readouterr().err.strip().splitlines()
        assert len(told) == sealed and all("going on from the checkpoint before it" in line for line in told)


def test_the_run_goes_on_over_a_damaged_step(copy):
    """The number of the step is free again, and the damaged one is not counted among those that are kept."""
    (copy / "2" / "state" / "manifest.ocdbt").unlink()
    with Checkpoints(copy, IDENTITY) as kept:
        assert int(kept.restore(state(0))[0]["step"]) == 1
        for step in (2, 3):
            kept.save(step, state(step), {"tokens": 10 * step})
    assert sorted(p.name for p in copy.iterdir()) == ["2", "3", "damaged-2"]
    assert restored(copy) == 3


def test_none_intact_is_one_line_that_says_what_to_do_again_and_again(copy):
    for step in ("1", "2"):
        largest = max(files(copy / step), key=lambda file: file.stat().st_size)
        largest.write_bytes(flip(largest.read_bytes()))
    for _ in range(2):
        with pytest.raises(UserError, match="every checkpoint is damaged; delete that folder") as error:
            restored(copy)
        assert "\n" not in str(error.value)


def test_one_without_digests_is_read_as_it_is_and_its_damage_told(copy):
    """Of a run that was killed the moment after it saved, or of an earlier version."""
    (copy / "2" / "digests.json").unlink()
    assert restored(copy) == 2
    (copy / "2" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(UserError, match="cannot read the checkpoint .* the one before"):
        restored(copy)


def test_other_runs_are_refused_before_anything_is_loaded(copy):
    with Checkpoints(copy, IDENTITY | {"seed": 2}) as kept:
        with pytest.raises(UserError, match=r"other seed \(there 1, here 2\)"):
            kept.restore(state(0))


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    assert restored(tmp_path / "new") is None
