"""Conversations as training data: the template's text in one tokenisation, and what is learnt of it.

What is learnt is what the assistant wrote: the characters of `{% generation %}` blocks where the template has them.
Most published templates have none, and then it is, in every turn of the assistant, its content as the template shows it
and the special token that ends the turn, never a header, a default system prompt or the newline behind the end. A token
is learnt if it covers one of these characters, as in transformers.

Where a content stands is found by rendering once more with a placeholder for each: around them nothing else may change.
So a template that rewrites what an assistant said (R1's drops all before `</think>`, Qwen3's the thinking of earlier
turns) is noticed and refused: what would be learnt is not what was given.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jprm.chat.codec import ChatCodec, Messages, fixed_chance
from jprm.errors import UserError

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
NOT_CONTENT = ("reasoning_content", "reasoning", "thinking", "tool_calls")
# What templates do with the blanks at the ends of a content.
SHOWN_AS: tuple[Callable[[str], str], ...] = (lambda s: s, str.strip, str.lstrip, str.rstrip)

Span = tuple[int, int]


def quote_messages(messages: Messages, codec: ChatCodec) -> list[dict[str, Any]]:
    """Quotes the contents of messages, so that none of them forges a turn.

    What an assistant says may hold the marks of its thinking and of its tools, which are tokens.
    """

    def quoted(value: Any, own: bool) -> Any:
        if isinstance(value, str):
            return codec.quote(value, own)
        if isinstance(value, Mapping):
            return {key: quoted(inner, own) for key, inner in value.items()}
        return [quoted(inner, own) for inner in value] if isinstance(value, list) else value

    return [
        {**quoted(message, message.get("role") == "assistant"), "role": message.get("role")} for message in messages
    ]


def render_chat(
    messages: Messages, codec: ChatCodec, control_tokens: bool = False, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the token ids (int32) of a conversation, and whether each is learnt (bool), both (T,).

    messages: `{"role": ..., "content": ...}`. control_tokens: whether what they spell of a control token is one, as for
    transformers; else it is plain text (`quote_messages`). options: of the template, such as enable_thinking. But for
    such spellings the ids are those of `apply_chat_template`, and with `{% generation %}` blocks the mask is that of
    `return_assistant_tokens_mask`.

    Raises UserError for a template that fails, that rewrites what the assistant said, or that does not end its turns.
    """
    if not control_tokens:
        messages = quote_messages(messages, codec)
    if GENERATION.search(codec.chat_template):
        text, spans = _generated(messages, codec, options)
    else:
        text, spans = _derived(messages, codec, options)
    ids, offsets = codec.encode_offsets(text)
    learnt = np.zeros(len(ids), bool)
    starts, ends = np.asarray(offsets, np.int64).reshape(-1, 2).T
    for start, end in spans:
        learnt |= (starts < end) & (ends > start)
    return np.asarray(ids, np.int32), learnt


def _generated(messages: Messages, codec: ChatCodec, options: dict[str, Any]) -> tuple[str, list[Span]]:
    """Renders the text, and finds the characters of its `{% generation %}` blocks."""
    from transformers.utils.chat_template_utils import render_jinja_template

    text = codec.chat_text(messages, **options)  # this says what is wrong with the messages or the template
    with fixed_chance():
        both: Any = render_jinja_template(  # it is typed as if it gave one text
            conversations=[[{k: v for k, v in m.items() if v is not None} for m in messages]],
            chat_template=codec.dated_template,
            return_assistant_tokens_mask=True,
            **codec.peer.special_tokens_map | options,
        )
    [rendered], [spans] = both
    assert rendered == text
    return text, spans


def _derived(messages: Messages, codec: ChatCodec, options: dict[str, Any]) -> tuple[str, list[Span]]:
    """Renders the text, and finds the characters of the assistant's contents and of what ends their turns."""
    turns = [n for n, message in enumerate(messages) if message.get("role") == "assistant"]
    contents = [_content(messages, n, codec) for n in turns]
    text = codec.chat_text(messages, **options)
    if not turns:
        return text, []
    mark = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in text)
    marks = [f"{mark}{n}{mark}" for n in turns]
    marked = [dict(message) for message in messages]
    for n, placeholder in zip(turns, marks, strict=True):
        marked[n]["content"] = placeholder
    around = re.split("|".join(marks), codec.chat_text(marked, **options))
    shown = _shown(contents, around, text)
    if shown is None:
        raise UserError(
            f"{codec.source}: the chat template does not show what the assistant said as it was "
            f"given{_first_changed(contents, turns, text)}; give the messages as the template shows "
            "them (without thinking, say), or use a template with {% generation %} blocks"
        )
    ending = _ending(codec, marked[: turns[-1] + 1], marks[-1], options)
    spans, at = [], 0
    for before, content, after in zip(around, shown, around[1:], strict=False):
        if not after.startswith(ending):
            raise UserError(
                f"{codec.source}: the chat template ends the last turn of the assistant with "
                f"{ending!r} and an earlier one with {after[:20]!r}; use a template with "
                "{% generation %} blocks"
            )
        start = at + len(before)
        at = start + len(content)
        spans.append((start, at + len(ending)))
    return text, spans


def _content(messages: Messages, n: int, codec: ChatCodec) -> str:
    """Returns what an assistant said in a turn. Raises UserError where that is more than a text."""
    message = messages[n]
    other = [name for name in NOT_CONTENT if message.get(name)]
    if other or not isinstance(message.get("content"), str):
        what = f"has {other[0]}" if other else "has no text as content"
        raise UserError(
            f"messages[{n}]: this turn of the assistant {what}, and the chat template of "
            f"{codec.source} does not say what is to be learnt of it; put it into the content, or "
            "use a template with {% generation %} blocks"
        )
    return message["content"]


def _shown(contents: list[str], around: list[str], text: str) -> list[str] | None:
    """Returns the contents as they stand in the text; None if the text is not these between `around`."""
    if len(around) != len(contents) + 1:
        return None
    for as_shown in SHOWN_AS:
        shown = [as_shown(content) for content in contents]
        parts = [part for pair in zip(around, shown, strict=False) for part in pair]
        if "".join([*parts, around[-1]]) == text:
            return shown
    return None


def _first_changed(contents: list[str], turns: list[int], text: str) -> str:
    changed = [n for n, content in zip(turns, contents, strict=True) if content.strip() not in text]
    return f" (messages[{changed[0]}])" if changed else ""


def _ending(codec: ChatCodec, marked: Messages, mark: str, options: dict[str, Any]) -> str:
    """Finds the special token behind the last content, where no header can follow. Raises UserError for none."""
    tail = codec.chat_text(marked, **options).rpartition(mark)[2]
    found = re.match(rf"\s*(?:{'|'.join(map(re.escape, codec.special_texts))})", tail)
    if found is None:
        raise UserError(
            f"{codec.source}: no special token ends a turn of the assistant in this chat template "
            f"(there is {tail[:20]!r}), so a model could not learn to stop; put its end of turn "
            "behind the content, or use a template with {% generation %} blocks"
        )
    return found.group()
