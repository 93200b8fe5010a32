"""A checkpoint's own tokenizer and chat template, as the rest of the package takes them.

Enter by `ChatCodec.load(directory)` (text to token ids and back) and `render_chat(messages, codec)`
(a conversation's token ids, and which of them an assistant is trained to write).
"""

from jprm.chat.codec import ChatCodec
from jprm.chat.render import quote_messages, render_chat
