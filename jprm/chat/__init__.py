"""A checkpoint's own tokenizer and chat template, as the rest of the package takes them.

Enter by `ChatCodec.load(directory)` (text to token ids and back) and `render_chat(messages, codec)`
(a conversation's token ids, and which of them an assistant is trained to write). `policy_prompt` asks for a solution.
"""

from jprm.chat.codec import ChatCodec
from jprm.chat.prompt import policy_prompt
from jprm.chat.render import quote_messages, render_chat
