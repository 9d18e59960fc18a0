"""The page infra/docs/region.md: every key of a request and of a source file, from their docstrings.

`make docs` writes the page again; a test compares it with this output.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from catalogs.source import Source
from flows.request.request import Request

Schema = dict[str, Any]


ALTERNATIVES: dict[str, object] = {
    "bounds": [604000, 4277000, 611000, 4284000],
    "geojson": "field.geojson",
    "period.start": "2024-06-01",
    "period.end": "2024-08-01",
    "lr.endpoint": "stac/items.json",
    "ref.endpoint": "stac/items.parquet",
    "compute.address": "tls://scheduler:8786",
    "compute.tls.ca": "ca.pem",
    "compute.tls.cert": "cert.pem",
    "compute.tls.key": "key.pem",
    "sample_region.folder": "output/sample-region",
    "sample_region.seed": 7,
    "sample_region.size_m": [2000, 2000],
}
"""Examples of keys that exclude one of EXAMPLE, or that few people need."""


INTRO = """\
# The request: every key

Made by `make docs`; a test compares the page with the output of `python -m flows.cli.reference`.

A request is one YAML file. Unknown keys are refused. It needs `name`, one of `bbox`, `bounds` and `geojson`, `crs`,
`gsd_m`, `scale`, `period`, `lr` and `output`; all other keys have defaults. A `-` in the column *default* means that
the key is required or not set. Relative paths in a YAML file are relative to the folder of that file. Relative paths
given by `--set`, by the `overrides` of a Prefect run, and those of the region `sample` are relative to the working
folder. A date without a time zone is UTC.

This [example](examples/request.yaml) has every key that can be given together:
"""
SOURCE_INTRO = """\
# A source file: every key

A source is one STAC collection. Give the path of its file as `lr.source` or `ref.source`. `name`, `role`, `bands`,
`rule`, `gsd_m`, `licence`, `attribution` and `derivatives` are required, and `collection` for a STAC API. A relative
`endpoint` is relative to the file. [own-files.md](own-files.md) explains how to write one for your own files; the
[sources that ship](../../catalogs/sources) are further examples. This [example](examples/source.yaml) has every key:
"""

UNITS = {
    "_m": "m",
    "_px": "px",
    "_s": "s",
    "_days": "days",
    "_bytes": "bytes",
    "_hour": "money an hour",
    "_month": "money",
}
NAMED_UNITS = {
    "bbox": "degrees",
    "bounds": "units of `crs`",
    "geojson": "degrees",
    "land": "degrees",
    "period.start": "UTC",
    "period.end": "UTC",
    "ref.max_shift_px": "HR px",
    "compute.straggler_s": "s",
    "sampling.batch": "tiles",
    "cost.thousand_requests": "money",
    "cost.seconds_per_tile": "s",
    "tiling.chunk_strides": "strides",
    "tiling.shard_chunks": "chunks",
}


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Docstring of each field of a pydantic model, base classes included; on one line."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not (issubclass(kind, BaseModel) and kind is not BaseModel):
            continue
        (tree,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def model_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from model_classes(part)


def accepted(schema: Schema) -> str:
    """What a JSON schema accepts, in plain text."""
    if "anyOf" in schema or "oneOf" in schema:
        choices: list[Schema] = schema["anyOf"] if "anyOf" in schema else schema["oneOf"]
        parts = [part for part in choices if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(accepted, parts)))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return "mapping, below"
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} x {accepted(schema['prefixItems'][0])}"
    kind = str(schema.get("type", "any value"))
    if isinstance(schema.get("additionalProperties"), dict) and "$ref" in schema["additionalProperties"]:
        return "mapping of names to mappings, below"
    if kind == "array":
        return f"list of {accepted(schema.get('items', {}))}"
    if kind == "string":
        return {"date-time": "date or time"}.get(schema.get("format", ""), "text")
    plain = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "object": "mapping"}.get(
        kind, kind
    )
    return plain + _limits(schema)


def _limits(schema: Schema) -> str:
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    parts = [f"{word} {_short(schema[key])}" for key, word in limits.items() if key in schema]
    return f" {' '.join(parts)}" if parts else ""


def _short(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float) and value.is_integer() and abs(value) > 9999 else f"{value:g}"


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"`{value:.10g}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return f"`{text.removesuffix('...').strip()}`"


def _unit(path: str) -> str:
    key = path.rpartition(".")[2]
    return NAMED_UNITS.get(path) or next((unit for end, unit in UNITS.items() if key.endswith(end)), "")


def examples(record: dict[str, Any], path: str = "") -> dict[str, object]:
    """Every value of a nested mapping by its dotted path."""
    found: dict[str, object] = {}
    for key, value in record.items():
        found[f"{path}{key}"] = value
        if isinstance(value, dict):
            found.update(examples(value, f"{path}{key}."))
    return found


def table(model: type[BaseModel], given: dict[str, object], path: str = "") -> str:
    """Markdown: one row a key, then one table a nested mapping."""
    schema = model.model_json_schema()
    texts, nested, kind = docstrings(model), [], ""
    rows = ["| key | value | default | unit | meaning | example |", "| --- | --- | --- | --- | --- | --- |"]
    for key, field in model.model_fields.items():
        at, parts = f"{path}{key}", list(model_classes(field.annotation))
        part = schema["properties"][key]
        if "const" in part:
            kind = f" with `{key}: {part['const']}`"
            given = {**given, at: part["const"]}
        nested += [table(inner, given, f"{at}.") for inner in parts]
        default = "-" if part.get("default") is None else "" if parts else _yaml(part["default"])
        meaning, _, stated = texts.get(key, "").partition(" Example: ")
        example = "" if parts else stated.rstrip(".") or (_yaml(given[at]) if at in given else "")
        cells = [f"`{at}`", accepted(part), default, _unit(at), meaning, example]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    about = " ".join(inspect.cleandoc(model.__doc__ or "").split())
    head = f"## `{path.removesuffix('.')}`{kind}\n\n{about}\n\n" if path else ""
    return "\n".join([head + "\n".join(rows), *("\n" + text for text in nested)])


def page() -> str:
    """The whole of infra/docs/region.md."""
    parts: list[tuple[str, str, type[BaseModel], dict[str, object]]] = [
        (INTRO, "request", Request, ALTERNATIVES),
        (SOURCE_INTRO, "source", Source, {}),
    ]
    return "\n".join(_part(*part) for part in parts)


def _part(intro: str, name: str, model: type[BaseModel], more: dict[str, object]) -> str:
    text = (resources.files("infra") / "docs" / "examples" / f"{name}.yaml").read_text()
    return f"{intro}\n```yaml\n{text}```\n\n{table(model, more | examples(yaml.safe_load(text)))}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
