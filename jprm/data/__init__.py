"""Training data: texts become documents, documents are packed into rows, rows come in an order.

Enter by `render` (text pieces -> Document), then `plan`, `Rows` and `Order`; `read_pieces` gives the
pieces of a file of conversations.
"""

from jprm.data.chats import chat_document
from jprm.data.conversations import (
    Corpus,
    by_line,
    corpus_of,
    messages_of,
    pieces_of,
    read_pieces,
    read_rows,
    read_unquoted,
    steps_of,
)
from jprm.data.documents import Document, Soft, render, render_steps
from jprm.data.packing import Plan, Rows, plan, rows
from jprm.data.pipeline import Order

__all__ = [
    "Corpus",
    "Document",
    "Order",
    "Plan",
    "Rows",
    "Soft",
    "by_line",
    "chat_document",
    "corpus_of",
    "messages_of",
    "pieces_of",
    "plan",
    "read_pieces",
    "read_rows",
    "read_unquoted",
    "render",
    "render_steps",
    "rows",
    "steps_of",
]
