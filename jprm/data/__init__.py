"""Training data: texts become documents, documents are packed into rows, rows come in an order.

Enter by `render` (text pieces -> Document), then `pack`, `Rows` and `Order`; `read_pieces` gives the
pieces of a file of conversations.
"""

from jprm.data.conversations import (
    Corpus,
    by_line,
    chat_document,
    corpus_of,
    messages_of,
    pieces_of,
    read_pieces,
    read_rows,
    steps_of,
)
from jprm.data.documents import Document, Soft, render, render_steps
from jprm.data.packing import Order, Packing, Rows, pack
