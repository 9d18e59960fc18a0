"""Evaluation of weights on pairs whose truth is known."""
