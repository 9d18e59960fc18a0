"""Receipts: proof that a step of a job is done."""
