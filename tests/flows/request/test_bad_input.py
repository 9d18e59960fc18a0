"""Bad input ends in one sentence that names the value and the way out, before anything is written."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app
from tests.conftest import box
from tests.support.commands import DSDIT, call, environment, prefect_home, write_request
from tests.support.running import sample_record

ONE_SHARD = box(100, 200, 220, 120)


class Boom:
    """Writes a file as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown key": ({"sclae": 8}, ("sclae", "not known")),
    "unknown key within": ({"compute": {"wrokers": 2}}, ("compute.wrokers", "not known")),
    "swapped bbox": (
        {"bounds": None, "bbox": [11.96, 48.0, 11.95, 48.01]},
        ("[11.96, 48.0, 11.95, 48.01]", "west, south, east, north", "swapped"),
    ),
    "latitude before longitude": (
        {"bounds": None, "bbox": [48.0, 111.0, 48.1, 111.1]},
        ("[48.0, 111.0, 48.1, 111.1]", "west, south, east, north"),
    ),
    "swapped bounds": (
        {"bounds": [720220.0, 5321800.0, 720100.0, 5321880.0]},
        ("720220.0", "from low to high"),
    ),
    "two footprints": ({"bbox": [11.95, 48.0, 11.96, 48.01]}, ("bbox", "bounds", "give one of")),
    "unknown source": ({"lr": {"source": "sentinel-9"}}, ("sentinel-9", "sample-lr")),
    "unknown source of references": ({"ref": {"source": "maps"}}, ("maps", "sample-ref")),
    "CRS in degrees": ({"crs": "EPSG:4326"}, ("EPSG:4326", "projected", "EPSG:32632")),
    "CRS in feet": ({"crs": "EPSG:2263"}, ("EPSG:2263", "metres")),
    "unknown CRS": ({"crs": "EPSG:1"}, ("EPSG:1", "EPSG:32632")),
    "scale not an integer": ({"scale": 8.5}, ("scale", "8.5", "integer")),
    "scale as a word": ({"scale": "8"}, ("scale", "'8'", "integer")),
    "scale too large": ({"scale": 32}, ("32", "4 to 16")),
    "tile off the lattice": ({"tiling": {"tile_px": 100}}, ("tile_px", "100", "multiple of 8", "nearest")),
    "shard too small": ({"tiling": {"chunk_strides": 1, "shard_chunks": 1}}, ("shard", "at least")),
    "no weights": ({"model": {"weights": "no-such-weights"}}, ("no-such-weights", "dsdit-tiny")),
    "address without its cluster": ({"compute": {"address": "tcp://127.0.0.1:1"}}, ("address", "cluster: address")),
    "period the wrong way round": ({"period": {"start": "2024-07-15", "end": "2024-06-15"}}, ("2024-07-15", "before")),
    "a name with a slash": ({"name": "../up"}, ("name", "../up")),
    "nothing found": (
        {"period": {"start": "2019-01-01", "end": "2019-02-01"}},
        ("sample-lr", "2019-01-01", "2019-02-01", "widen the period"),
    ),
}


def one_sentence(stderr: str, *parts: str) -> None:
    """`stderr` ends in the command's sentence, which contains all of `parts`, and holds no traceback."""
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("dsdit:")]
    assert len(lines) == 1, stderr
    assert stderr.rstrip().splitlines()[-1] == lines[0]
    for part in parts:
        assert part in lines[0], lines[0]


def run(command: str, record: dict[str, Any] | str, folder: Path, *parts: str) -> None:
    path = folder / "request.yaml"
    if isinstance(record, dict):
        write_request(path, record)
    else:
        path.write_text(record)
    result = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "400"}).invoke(app, [command, str(path)])
    assert result.exit_code == 2, result.output
    one_sentence(result.stderr, *parts)


def nothing_written(output: Path) -> None:
    assert not output.exists() or not list(output.iterdir())


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", [name for name in CASES if name != "nothing found"])
def test_what_is_wrong_in_a_request(case: str, command: str, catalog: Path, weights: Path, tmp_path: Path) -> None:
    change, parts = CASES[case]
    record = {**sample_record(catalog, weights, tmp_path / "out", ONE_SHARD), **change}
    run(command, {k: v for k, v in record.items() if v is not None}, tmp_path, *parts)
    nothing_written(tmp_path / "out")


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("- a\n- b\n", ("does not hold a mapping",)),
        ("just words\n", ("does not hold a mapping",)),
        ("name: [unclosed\n", ("is not YAML",)),
        ("", ("does not hold a mapping",)),
    ],
)
def test_a_file_that_is_no_mapping(text: str, parts: tuple[str, ...], command: str, tmp_path: Path) -> None:
    run(command, text, tmp_path, "request.yaml", *parts)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_that_is_not_there(command: str, tmp_path: Path) -> None:
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, [command, str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    one_sentence(result.stderr, "none.yaml", "sample")


@pytest.mark.parametrize(("command", "key"), [("plan", "output"), ("run", "output"), ("run", "scratch")])
def test_a_place_that_cannot_be_written(key: str, command: str, catalog: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    record = sample_record(catalog, weights, tmp_path / "out", ONE_SHARD)
    record[key] = str(tmp_path / "file" / "below")
    run(command, record, tmp_path, record[key], "choose another")
    assert (tmp_path / "file").read_text() == "a file"
    nothing_written(tmp_path / "out")


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("kind", ["a .pt file", "model.safetensors"])
def test_weights_that_are_a_pickle_are_refused_unopened(
    kind: str, command: str, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "opened"
    if kind == "model.safetensors":
        path = tmp_path / "weights"
        shutil.copytree(weights, path)
        (path / "model.safetensors").write_bytes(pickle.dumps(Boom(mark)))
    else:
        path = tmp_path / "weights.pt"
        path.write_bytes(pickle.dumps(Boom(mark)))
    record = sample_record(catalog, path, tmp_path / "out", ONE_SHARD)
    run(
        command,
        record,
        tmp_path,
        str(path),
        "safetensors",
        "give a folder" if kind == "a .pt file" else "not a readable",
    )
    assert not mark.exists()
    nothing_written(tmp_path / "out")


def test_nothing_found_is_one_sentence_of_a_plan(catalog: Path, weights: Path, tmp_path: Path) -> None:
    change, parts = CASES["nothing found"]
    run("plan", {**sample_record(catalog, weights, tmp_path / "out", ONE_SHARD), **change}, tmp_path, *parts)


def test_a_wrong_key_on_the_command_line(catalog: Path, weights: Path, tmp_path: Path) -> None:
    path = write_request(tmp_path / "r.yaml", sample_record(catalog, weights, tmp_path / "out", ONE_SHARD))
    for value, parts in (
        ("scale", "is not key=value"),
        ("compute.nonsense=1", "compute.nonsense"),
        ("scale=7.5", "7.5"),
    ):
        result = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["plan", str(path), "--set", value])
        assert result.exit_code == 2
        one_sentence(result.stderr, parts)
    nothing_written(tmp_path / "out")


@pytest.mark.slow
def test_the_command_itself_before_and_within_the_flow(catalog: Path, weights: Path, tmp_path: Path) -> None:
    env = environment(prefect_home())
    record = sample_record(catalog, weights, tmp_path / "out", ONE_SHARD)
    path = write_request(tmp_path / "r.yaml", {**record, "crs": "EPSG:4326"})
    done = call([*DSDIT, "run", str(path)], env)
    assert done.returncode == 2
    one_sentence(done.stderr, "EPSG:4326", "projected")
    assert done.stdout == ""
    nothing_written(tmp_path / "out")
    change, parts = CASES["nothing found"]
    path.write_text(yaml.safe_dump({**record, **change}))
    done = call([*DSDIT, "run", str(path)], env)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout
    assert sum("nothing to do" in line for line in (done.stdout + done.stderr).splitlines()) == 1
    one_sentence(
        "\n".join(line for line in done.stderr.splitlines() if "Stopping temporary server" not in line), *parts
    )
    assert not (tmp_path / "out" / "mosaic.zarr").exists()
