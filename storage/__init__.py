"""What is kept: the ledger of batches and verdicts, and the things verdicts refer to.

All SQL lives here. Functions take a ``Connection`` and never commit: the caller owns the transaction
(``database.transaction``), so that verdicts, dead letters, the finished batch and the outbox are one.
"""
