"""The layouts in which conversations to train on are traded: a row's fields tell which one it has.

    messages             [{"role", "content"}, ...], an assistant's with "train": false where it is not to be learnt
    conversations        the same, as GenPRM-MATH-Data and RLHFlow have it, or ShareGPT's [{"from", "value"}, ...]
    prompt, completion   TRL's: two lists of messages or two texts; the completion alone is learnt
    pieces               this package's own (`jprm.data`)

A content is a text, or a list of parts of which each is one (`{"type": "text", "text"}`). Other fields are left alone,
and a field that is null is none: tables have a column for every field of any row.
"""

from dataclasses import dataclass
from typing import Any

from jprm.errors import UserError

TRAINED_ROLE = "assistant"
ROLES = ("system", "user", "assistant", "tool", "output", "ipython", "function")
SHAREGPT = {"human": "user", "gpt": "assistant"} | {role: role for role in ROLES}
LAYOUTS = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "prompt, completion": ("prompt", "completion"),
    "pieces": ("pieces",),
}


@dataclass(frozen=True)
class TrainingTurn:
    """One turn of a conversation, and whether it is to be learnt, which only an assistant's is."""

    role: str
    text: str
    trained: bool


def layout_of(row: dict[str, Any]) -> str:
    """Returns the one of `LAYOUTS` whose fields a row has. Raises UserError where none fits, or several do."""
    found = [name for name, fields in LAYOUTS.items() if all(row.get(field) is not None for field in fields)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(", ".join(map(repr, fields)) for fields in LAYOUTS.values())
    if found:
        raise UserError(f"the fields of several layouts: {' and '.join(found)}; give one")
    raise UserError(f"the fields {', '.join(map(repr, row)) or 'of no layout'}: none of the known layouts ({known})")


def text_pair_of(row: dict[str, Any]) -> tuple[str, str] | None:
    """Returns prompt and completion of a row where both are texts, which have no turns; None for any other row.

    Raises UserError as `layout_of`.
    """
    if layout_of(row) != "prompt, completion":
        return None
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt, completion
    if isinstance(prompt, str) or isinstance(completion, str):
        raise UserError("'prompt' and 'completion' must both be texts, or both be lists of messages")
    return None


def turns_of(row: dict[str, Any]) -> list[TrainingTurn]:
    """Returns the turns of a row, in whichever layout of conversations. Raises UserError for anything else."""
    layout = layout_of(row)
    if layout == "pieces" or text_pair_of(row) is not None:
        raise UserError(f"{layout}: texts without turns; `train` reads the row as it is")
    if layout == "prompt, completion":
        asked = [TrainingTurn(turn.role, turn.text, False) for turn in _turns(row, "prompt")]
        return asked + _turns(row, "completion")
    return _turns(row, layout)


def messages_row(turns: list[TrainingTurn]) -> dict[str, Any]:
    """Returns the row of a conversation in the layout `messages`."""
    messages = []
    for turn in turns:
        untrained = turn.role == TRAINED_ROLE and not turn.trained
        messages.append({"role": turn.role, "content": turn.text} | ({"train": False} if untrained else {}))
    return {"messages": messages}


def _turns(row: dict[str, Any], field: str) -> list[TrainingTurn]:
    messages = row[field]
    if not isinstance(messages, list) or not messages:
        raise UserError(f"'{field}' must be a list of messages")
    return [_turn(f"{field}[{i}]", message) for i, message in enumerate(messages)]


def _turn(where: str, message: Any) -> TrainingTurn:
    if not isinstance(message, dict):
        raise UserError(f"{where} must be an object with 'role' and 'content', or 'from' and 'value'")
    of, said, roles = "role", "content", {role: role for role in ROLES}
    if message.get("from") is not None:
        of, said, roles = "from", "value", SHAREGPT
    role, train = message.get(of), message.get("train")
    if not isinstance(role, str) or role not in roles:
        raise UserError(f"{where}.{of} is {role!r}; one of {', '.join(roles)}")
    text = _text(f"{where}.{said}", message.get(said))
    if train is not None and not isinstance(train, bool):
        raise UserError(f"{where}.train is {train!r}; true or false")
    learnt = roles[role] == TRAINED_ROLE
    if train and not learnt:
        raise UserError(f"{where}.train is true for the role {role!r}; only an assistant is trained")
    return TrainingTurn(roles[role], text, learnt and train is not False)


def _text(where: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"{where} must be text, or a list of parts that are text")
    texts = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else part
        if kind != "text":
            raise UserError(f"{where}[{i}] is of the type {kind!r}; only parts of the type 'text' are trained on")
        if not isinstance(part.get("text"), str):
            raise UserError(f"{where}[{i}].text must be text")
        texts.append(part["text"])
    return "".join(texts)
