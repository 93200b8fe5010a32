"""Asking a checkpoint for a solution: the text around a problem, in the model's chat template or by itself."""

from jprm.chat.codec import ChatCodec
from jprm.errors import UserError
from jprm.prompt import PolicyPrompt

PLACE = "{problem}"
SENTINEL = "\ufdd1"  # a noncharacter, which no template writes


def policy_prompt(
    codec: ChatCodec, instruction: str, *, chat: bool, system: str = "", begin: str = "", **options: object
) -> PolicyPrompt:
    """Returns the prompt that shows `instruction` with a problem at its place {problem}.

    chat: the instruction is a user's turn of the checkpoint's template, behind the turn `system` where that is not
    empty; else it stands alone. begin: how every solution begins. options: of the template, such as enable_thinking.
    Raises UserError for a template that does not show the instruction as it is, once.
    """
    shown = instruction.replace(PLACE, SENTINEL)
    if chat:
        messages = [{"role": "system", "content": system}] if system else []
        shown = codec.chat_text([*messages, {"role": "user", "content": shown}], generation_prompt=True, **options)
    before, *rest = shown.split(SENTINEL)
    if len(rest) != 1:
        raise UserError(
            f'{codec.source}: the chat template shows the user\'s text {len(rest)} times; ask with style = "plain"'
        )
    return PolicyPrompt(before, rest[0], begin)
