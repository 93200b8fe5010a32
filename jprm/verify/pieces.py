"""Training text of a rationale protocol: the pieces of conversations, each with whether the model learns to write it.

An author's rationale is played through the protocol's own state machine, and the conversation is laid out as the driver
lays it out. So what a model is trained on equals, to the character, what it will read and write when it is asked.

Invariant: the loss falls only on what the verifier writes itself. The problem, the steps, what the template forces and
what code printed are context.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

from jprm.quoting import TextCodec
from jprm.verify.protocol import Dialogue, Done, Execute, Generate, Pieces, RationaleFormat
from jprm.verify.texts import texts_of

# Runs a piece of code in the conversation's namespace: (kind of outcome, text to read).
Run = Callable[[str], tuple[str, str]]


def play(dialogue: Dialogue, turns: Iterable[str], run: Run) -> tuple[Pieces, bool | None] | None:
    """Returns the rationale that an author's turns make up, as pieces, and its verdict.

    turns: what the author writes in the place of the model, each up to its stop (see `RationaleFormat.turns_of`).
    run: is given every piece of code.

    None where the rationale does not fit the protocol: it outgrows the budget, has fewer turns than the protocol asks
    for, holds a stop in the midst of a turn, or code behind which the protocol allows no more.
    """
    written = iter(turns)
    pieces: Pieces = []
    while not isinstance(action := dialogue.next_action(), Done):
        match action:
            case Generate(forced, max_tokens):
                turn = next(written, None)
                tokens = 0 if turn is None else len(dialogue.texts.encode(turn))
                if turn is None or tokens > max_tokens or dialogue.out_of_budget:
                    return None
                pieces += [(forced, False), (turn, True)]
                dialogue.feed(turn, tokens)
            case Execute(code):
                kind, text = run(code)
                dialogue.feed_outcome(text, kind)
    pieces = [piece for piece in [*pieces, (action.closing, False)] if piece[0]]
    if next(written, None) is not None or "".join(text for text, _ in pieces) != dialogue.text:
        return None
    return pieces, action.correct


def conversation_pieces(
    format: RationaleFormat,
    codec: TextCodec,
    problem: str,
    steps: Sequence[str],
    rationales: Sequence[Pieces],
    style: str,
) -> list[Pieces]:
    """Returns the documents that teach a verifier to write these rationales.

    problem, steps: as they are, not quoted. rationales: of the first `len(rationales)` steps (at least one), as `play`
    gives them. The joined pieces of a document are the driver's text behind its last rationale; marks in it quote what
    texts of others spell of control tokens, for `encode_quoted`.

    It is one document where a rationale stands in the history as it stood when it was written. Where the layout tells
    them apart (the published chat; Qwen3's template, which forgets a block of thinking) there is a document for each
    step, and its last rationale alone is trained.

    Where one token covers context and trained text (a blank that the template forces and the word behind it), all of it
    is trained.
    """
    quote = texts_of(codec, format.reference).quote
    shown = quote(problem), [quote(step) for step in steps]
    if format.history_as_written:
        return [_by_tokens(format.conversation(*shown, rationales, style), codec)]
    documents = []
    for n in range(1, len(rationales) + 1):
        past = [[(text, False) for text, _ in rationale] for rationale in rationales[: n - 1]]
        documents.append(_by_tokens(format.conversation(*shown, [*past, rationales[n - 1]], style), codec))
    return documents


def _by_tokens(pieces: Pieces, codec: TextCodec) -> Pieces:
    """Moves the ends of trained pieces outwards, to where tokens begin and end; neighbours of one kind are joined."""
    text = "".join(text for text, _ in pieces)
    trained = [flag for text, flag in pieces for _ in text]
    for start, end in codec.encode_offsets(text)[1]:
        if any(trained[start:end]):
            trained[start:end] = [True] * (end - start)
    runs = itertools.groupby(zip(text, trained, strict=True), key=lambda pair: pair[1])
    return [("".join(character for character, _ in run), flag) for flag, run in runs]
