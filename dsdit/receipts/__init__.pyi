from .objects import Receipt as Receipt
from .objects import read_receipt as read_receipt
from .objects import receipt_object as receipt_object
from .objects import remove_receipts as remove_receipts
from .objects import write_receipt as write_receipt
from .receipts import compact_receipts as compact_receipts
from .receipts import damaged_receipts as damaged_receipts
from .receipts import done_jobs as done_jobs
from .receipts import iterate_receipts as iterate_receipts
from .receipts import join_receipts as join_receipts
from .receipts import list_receipts as list_receipts
from .receipts import new_receipts as new_receipts
from .receipts import read_receipts as read_receipts
from .receipts import write_receipt_table as write_receipt_table

__all__ = [
    "Receipt",
    "compact_receipts",
    "damaged_receipts",
    "done_jobs",
    "iterate_receipts",
    "join_receipts",
    "list_receipts",
    "new_receipts",
    "read_receipt",
    "read_receipts",
    "receipt_object",
    "remove_receipts",
    "write_receipt",
    "write_receipt_table",
]
