"""README and the pages: their links, commands, keys, files and YAML examples exist and hold."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from catalogs.source import load_source
from flows.cli import reference
from flows.cli.main import app
from flows.request.cluster_file import cluster_names, load_cluster
from flows.request.request import make_request
from flows.request.settings import Compute
from tests.support import module_map

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "infra" / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "infra/SUMS.md", "tests/README.md", "findings/README.md")),
    *sorted(DOCS.glob("*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
page = pytest.mark.parametrize("name", TEXTS)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code(text: str) -> str:
    """Shell blocks, and what is between backticks in the prose."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks(text, "sh"), *re.findall(r"`([^`]+)`", prose)])


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@page
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (ROOT / name).parent / place if place else ROOT / name
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target.read_text()), f"{name}: {link}"


@page
def test_files_between_backticks_exist(name: str) -> None:
    """Names that begin with a folder of the project; what a run writes begins with `output`."""
    known = "dsdit|catalogs|flows|infra|tests|findings"
    for path in re.findall(rf"`((?:{known})/[\w./-]+)`", TEXTS[name]):
        assert (ROOT / path).exists() or path.endswith("NAME.sh"), f"{name}: {path}"


@page
def test_commands_and_options_exist(name: str) -> None:
    """`dsdit COMMAND [SUBCOMMAND] --option` as the command line knows them."""
    root: Any = typer.main.get_command(app)
    for words in re.findall(r"\bdsdit ((?:[a-z][a-z-]*)(?: [^\n`|]*)?)", code(TEXTS[name])):
        command, *rest = words.split()
        assert command in root.commands, f"{name}: dsdit {command}"
        found = root.commands[command]
        if rest and rest[0] in getattr(found, "commands", {}):
            found = found.commands[rest[0]]
        options = {option for parameter in found.params for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", words.partition("#")[0]):
            assert option in options | {"--help"}, f"{name}: dsdit {words}"


@page
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", code(TEXTS[name])))
    assert named <= targets, f"{name}: {named - targets}"


@page
def test_deployments_exist(name: str) -> None:
    record = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())
    known = {f"sr-region/{deployment['name']}" for deployment in record["deployments"]}
    assert set(re.findall(r"`?(sr-region/[a-z][a-z-]+)", TEXTS[name])) <= known, name


def examples() -> Iterator[tuple[str, str]]:
    for name, text in TEXTS.items():
        yield from ((name, block) for block in blocks(text, "yaml"))


@pytest.mark.parametrize(("name", "text"), list(examples()))
def test_yaml_examples_are_valid(name: str, text: str, tmp_path: Path) -> None:
    """The first line of an example says what it is, where it is no request: `# cluster`, `# source` or `# compute`."""
    record = yaml.safe_load(text)
    if text.startswith("# cluster") or "kind" in record:
        (tmp_path / "cluster.yaml").write_text(text)
        load_cluster(str(tmp_path / "cluster.yaml"))
    elif text.startswith("# source") or "role" in record:
        (tmp_path / "source.yaml").write_text(text)
        assert load_source("source.yaml", tmp_path).name == record["name"]
    elif text.startswith("# compute"):
        Compute.model_validate(record)
    else:
        assert make_request(record).region().window.shape > (0, 0)


@page
def test_keys_between_backticks_exist(name: str) -> None:
    """`sampling.seed` and its like are keys of a request."""
    known = set(keys(reference.Request))
    tops = {key for key in known if any(other.startswith(f"{key}.") for other in known)}
    for key in re.findall(r"`([a-z_]+\.[a-z_]+)(?:: [^`]*)?`", TEXTS[name]):
        if key.partition(".")[0] in tops and not key.endswith((".safetensors", ".pt", ".py")):
            assert key in known, f"{name}: {key}"
    for key in re.findall(r"--set ([a-z_.]+)=", TEXTS[name]):
        assert key in known, f"{name}: --set {key}"


def keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield f"{path}{key}"
        for inner in reference.model_classes(field.annotation):
            yield from keys(inner, f"{path}{key}.")


def test_page_of_keys_is_generated() -> None:
    assert TEXTS["infra/docs/region.md"] == reference.page(), "run make docs"


def test_every_key_has_meaning_and_example() -> None:
    row = r"^\| `([a-z_.]+)` \| ([^|]*) \| [^|]* \| [^|]* \| ([^|]*) \| ([^|]*) \|$"
    first, source = (
        re.findall(row, part, re.MULTILINE) for part in re.split(r"^# ", reference.page(), flags=re.MULTILINE)[1:]
    )
    assert {key for key, *_ in first} == set(keys(reference.Request))
    assert {key.partition(".")[0] for key, *_ in source} == set(reference.Source.model_fields)
    for key, value, meaning, example in first:
        assert meaning.strip(), key
        assert example.strip() or "below" in value, key
    for key, _, meaning, _ in source:
        assert meaning.strip() or key.endswith(".kind"), key


def test_module_map_names_every_file_once() -> None:
    named = re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", TEXTS["infra/docs/architecture.md"], re.MULTILINE)
    there = [path.relative_to(ROOT).as_posix() for path in module_map.files()]
    hint = "run make docs"
    assert sorted(name for name, _ in named) == sorted(there), hint
    assert all(text.strip() for _, text in named), hint


def test_every_guarantee_has_tests() -> None:
    rows = re.findall(r"^\| \*\*(G\d) .*\| (.*) \|$", TEXTS["infra/docs/architecture.md"], re.MULTILINE)
    assert [guarantee for guarantee, _ in rows] == [f"G{number}" for number in range(1, 8)]
    for guarantee, tests in rows:
        files = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert len(files) >= 3, guarantee
        for file in files:
            assert "def test_" in (ROOT / file).read_text(), file
    short = re.findall(r"^\| (G\d) .*\| \[(.*)\]\((.*)\) \|$", TEXTS["tests/README.md"], re.MULTILINE)
    assert [guarantee for guarantee, *_ in short] == [guarantee for guarantee, _ in rows]
    for (_, name, link), (_, tests) in zip(short, rows, strict=True):
        assert name == link and f"`tests/{link}`" in tests


def test_clusters_and_support_modules_are_all_listed() -> None:
    assert set(cluster_names()) <= set(re.findall(r"^\| `([a-z]+)` \|", TEXTS["infra/docs/clusters.md"], re.MULTILINE))
    named = re.findall(r"^\| `(\w+)` \|", TEXTS["tests/README.md"].partition("| module |")[2], re.MULTILINE)
    there = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")} - {"__init__"}
    assert set(named) == there, "run make docs"


def test_results_have_one_entry_a_benchmark() -> None:
    titles = re.findall(r"^## (.*?), 20", (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text(), re.MULTILINE)
    assert len(titles) > 10 and len(set(titles)) == len(titles)


@page
def test_python_names_can_be_imported(name: str) -> None:
    """`dsdit.open_mosaic` and its like, also with a call's parentheses; `flows.cli:app` as an entry point."""
    for text in re.findall(r"`((?:dsdit|catalogs|flows)(?:\.\w+)+(?::\w+)?)(?:\([^`]*\))?`", TEXTS[name]):
        if text.rpartition(".")[2] in ("py", "yaml"):
            continue
        module, colon, attribute = text.partition(":")
        parts = module.split(".")
        found = importable(parts)
        assert found is not None, f"{name}: {text}"
        assert not colon or hasattr(found, attribute), f"{name}: {text}"


def importable(parts: list[str]) -> Any:
    """The module, or the attribute of one, that a dotted name leads to; None for neither."""
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None
