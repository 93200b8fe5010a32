"""Seeds derived from names, so that no part of a run depends on the order of another.

`seed_of(root, "rollout", state_id, 3)` is the same number in every process and on every machine:
it is read off a SHA-256 digest, never off `hash()`, which Python salts.
"""

import hashlib
import operator

import numpy as np


def seed_of(root: int, *path: str | int) -> int:
    """Returns a 63-bit seed for the place `path` under the seed `root`.

    Parts are kept apart by type and length: ("ab", "c"), ("a", "bc") and ("1",), (1,) all differ.
    """
    digest = hashlib.sha256()
    for part in (root, *path):
        # a numpy integer counts as the Python integer of the same value
        text = f"str:{part}" if isinstance(part, str) else f"int:{operator.index(part)}"
        digest.update(f"{len(text)}:{text}".encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def rng_of(root: int, *path: str | int) -> np.random.Generator:
    """Returns a numpy generator seeded with `seed_of(root, *path)`."""
    return np.random.default_rng(seed_of(root, *path))
