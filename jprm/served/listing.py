"""The models that a server lists, and what its refusals mean for the user."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter

from jprm.errors import UserError
from jprm.http import Call, Client, Failed, Refused, parse

TRIES = 2  # a wrong URL should be said soon
NO_LIST = (404, 405, 501)
HINTS = {
    401: "; give the key of the server",
    403: "; give the key of the server",
    404: "; check the URL (it ends with /v1) and the name of the model",
}
OF_CONTEXT = ("context length", "context_length", "max_model_len")


class _Card(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    max_model_len: PositiveInt | None = None


class _Cards(BaseModel):
    data: list[_Card]


_CARDS = TypeAdapter(_Cards)


def find_model(client: Client, model: str) -> tuple[str, int | None]:
    """Looks a model up on the server; returns its name there and its context in tokens, None if not told.

    An empty name stands for the only model that the server has.

    Raises Failed and Refused, and UserError where it is not among those that the server lists.
    """
    try:
        cards = client.ask("/models", None, lambda data: parse(_CARDS, data), Call(), tries=TRIES)
    except Refused as refusal:
        if model and refusal.status in NO_LIST:
            return model, None  # the probe shows whether the server has it
        raise
    longest = {card.id: card.max_model_len for card in cards.data}
    names = client.safe(", ".join(longest)) or "nothing"
    if not model and len(longest) != 1:
        raise UserError(f"{client.url} serves {names}; name one model")
    model = model or next(iter(longest))
    if model not in longest:
        raise UserError(f"{client.url} does not serve {model!r}; it serves {names}")
    return model, longest[model]


def in_words(error: Failed | Refused, url: str) -> UserError:
    """Says what is wrong with the server, and what the user can do about it."""
    if isinstance(error, Failed) or error.status < 400:
        hint = ""
    elif is_of_context(error):
        hint = (
            "; set the context of this run to what the server holds, or serve the model with a "
            "longer one (--max-model-len, --context-length)"
        )
    else:
        hint = HINTS.get(error.status, "; is it a server of the OpenAI kind?")
    return UserError(f"{url}: {error}{hint}")


def is_of_context(error: Refused) -> bool:
    """Whether the server refused a conversation because it exceeds the model's context."""
    return any(words in error.said.lower() for words in OF_CONTEXT)
