"""Sentences for what pydantic finds wrong in a record: the key, the value, and the key that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with which key of `model`; the value only where the message does not show it already."""
    key = ".".join(map(str, error["loc"])) or "request"
    if error["type"] == "extra_forbidden":
        return f"{key}: this key is not known{_suggestion(error['loc'], model)}"
    message, value = error["msg"].removeprefix("Value error, "), error.get("input")
    if message.startswith(f"{key} "):
        return message
    return f"{key}: {message}" if isinstance(value, dict) else f"{key}: {message} (given {value!r})"


def hint(word: str, known: Sequence[str]) -> str:
    """The known word closest to `word` as a question, or all known words."""
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _suggestion(path: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Rest of a sentence about an unknown key at `path`: keys of the part that it was found in."""
    part: type[BaseModel] | None = model
    for name in path[:-1]:
        field = part.model_fields.get(str(name)) if part is not None else None
        annotation = field.annotation if field is not None else None
        kinds = [annotation, *getattr(annotation, "__args__", ())]  # the members of `Part | None` too
        part = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return f": {hint(str(path[-1]), list(part.model_fields))}" if part is not None else ""
