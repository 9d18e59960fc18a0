"""Kinds of clusters. File `moon.py` with class `Moon` is all that `kind: moon` needs: its keys, and its executor."""
