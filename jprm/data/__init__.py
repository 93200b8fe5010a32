"""Training data: texts become documents, documents are packed into rows, rows come in batches.

Enter by `render` (text pieces -> Document), then `plan`, `rows` and `batches`.
"""

from jprm.data.documents import Document, render
from jprm.data.packing import Plan, plan, rows
from jprm.data.pipeline import batches

__all__ = ["Document", "Plan", "batches", "plan", "render", "rows"]
