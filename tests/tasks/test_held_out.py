"""The held-out documents of a checkpoint are the first ones that a number of tokens holds."""

from hypothesis import given
from hypothesis import strategies as st

from jprm.tasks.verifier import first_within


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 40))
def test_the_first_documents_that_fit_and_never_none(lengths, tokens):
    documents = [[i] * n for i, n in enumerate(lengths)]
    kept = first_within(documents, tokens)
    assert kept == documents[: len(kept)] and kept
    assert len(kept) == 1 or sum(map(len, kept)) <= tokens
    assert len(kept) == len(documents) or sum(map(len, kept)) + lengths[len(kept)] > tokens
