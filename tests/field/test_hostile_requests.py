"""Requests and weights that would end in a traceback or in endless work: one sentence each, in little time and memory.

All cases are checked in one process with limits on memory and CPU time, after a valid request of the same kind.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import box
from tests.support.running import sample_record

CHECK = """
import json, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
from dsdit.errors import DsditError
from flows.plan.prepared import prepare
from flows.request.request import load_request
found = []
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        prepare(load_request(path))
        text = ""
    except DsditError as error:
        text = str(error)
    except BaseException as error:
        text = f"TRACEBACK {error!r}"[:300]
    seconds = time.process_time() - start
    found.append([Path(path).stem, text, seconds])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([found, int(status["VmHWM"].split()[0]) * 1024]))  # ru_maxrss would count the parent's too
"""
RING = [[11.95, 48.0], [11.96, 48.0], [11.96, 48.01], [11.95, 48.01], [11.95, 48.0]]
ZIGZAG = [[x, y / 500] for y in range(1_000) for x in ((-179, 179) if y % 2 else (179, -179))]
BOMB = "\n".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]" if n else "k0: &k0 [x, x]" for n in range(6))
MERGES = "\n".join(
    f"k{n}: &k{n} {{<<: [{', '.join([f'*k{n - 1}'] * 9)}]}}" if n else "k0: &k0 {x: 1}" for n in range(6)
)


def polygon(*rings: Any) -> str:
    return json.dumps({"type": "Polygon", "coordinates": list(rings)})


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "first day of the calendar": ({"period": {"start": "0001-01-01", "end": "2024-07-15"}}, "1900 to 2200"),
    "last day, west of Greenwich": (
        {"period": {"start": "2024-07-15", "end": "9999-12-31T23:59:59-14:00"}},
        "1900 to 2200",
    ),
    "a number for a date": ({"period": {"start": 20240615, "end": "2024-07-15"}}, "2024-06-15"),
    "digits for a date": ({"period": {"start": "20240615", "end": "2024-07-15"}}, "2024-06-15"),
    "infinite days": ({"period": {"latest_days": float("inf")}}, "latest_days"),
    "10^300 days": ({"period": {"latest_days": 1e300}}, "latest_days"),
    "infinite bounds": ({"bounds": [0, 0, float("inf"), float("inf")]}, "inf"),
    "bounds that are not numbers": ({"bounds": [float("nan"), 0, 1, 1]}, "nan"),
    "bounds of 10^300 m": ({"bounds": [0, 0, 1e300, 1e300]}, "1e+300"),
    "bounds of 30,000 km": ({"bounds": [-1.5e7, -1.5e7, 1.5e7, 1.5e7], "gsd_m": 0.1}, "give a smaller footprint"),
    "an infinite bbox": ({"bounds": None, "bbox": [float("-inf"), -90, float("inf"), 90]}, "bbox"),
    "tiles of 10^9 px": ({"tiling": {"tile_px": 2**30}}, "too large"),
    "10^9 strides": ({"tiling": {"chunk_strides": 10**9}}, "too large"),
    "10^18 px a shard": ({"tiling": {"chunk_strides": 10**9, "shard_chunks": 10**9}}, "too large"),
    "10^9 workers": ({"compute": {"workers": 10**9}}, "workers"),
    "a compound CRS": ({"crs": "EPSG:32632+5773"}, "EPSG:32632+5773"),
    "a compound CRS with a code": ({"crs": "EPSG:5555"}, "EPSG:25832"),
    "a CRS of 5,000 digits": ({"crs": "EPSG:" + "9" * 5000}, "crs"),
    "a NUL in a path": ({"output": "a\0b"}, "NUL"),
}
OUTLINES = {
    "deep": ("[" * 5_000, "too deep"),
    "deep collections": (
        '{"type":"GeometryCollection","geometries":[' * 40 + json.dumps({"type": "Point", "coordinates": [0, 0]})
        + "]}" * 40,
        "more than 16 deep",
    ),
    "coordinates that are words": (polygon([["a", "b"]] * 4), "not a GeoJSON geometry"),
    "an empty ring": (polygon([]), "outline"),
    "two corners": (polygon(RING[:2]), "not a GeoJSON geometry"),
    "coordinates beyond floats": (polygon([[10**400, 0], [1, 0], [1, 1], [10**400, 0]]), "not a GeoJSON geometry"),
    "infinite coordinates": (polygon([[float("inf"), 0], [1, 0], [1, 1], [float("inf"), 0]]), "outline"),
    "features that are a number": ('{"type": "FeatureCollection", "features": 5}', "not a GeoJSON geometry"),
    "a feature that is a number": ('{"type": "FeatureCollection", "features": [5]}', "not a GeoJSON geometry"),
    "a type that is a list": ('{"type": [], "coordinates": []}', "not a GeoJSON geometry"),
    "an outline 1,000 times around": (polygon([*ZIGZAG, [-179, -1], ZIGZAG[0]]), "outline"),
    "16 MB of blanks": (" " * 17_000_000, "16,000,000 bytes"),
}  # fmt: skip
TEXTS = {
    "nested aliases": (BOMB, "aliases"),
    "nested merges": (MERGES, "aliases"),
    "an alias of itself": ("a: &a [*a]", "*a"),
    "500 lists": ("a: " + "[" * 500 + "]" * 500, "deep"),
    "2,000 lists": ("a: " + "[" * 2_000, "is not YAML"),
    "a day that is none": ("period: {start: 2024-02-31}", "is not YAML"),
    "an integer of 5,000 digits": ("scale: " + "9" * 5000, "is not YAML"),
    "a hexadecimal of 5,000 digits": ("scale: 0x" + "f" * 5000, "2**64"),
}
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "10^9 blocks": ({"network": {"depth": 10**9}}, "depth is 1000000000"),
    "10^300 wide": ({"network": {"hidden_size": 10**300}}, "hidden_size"),
    "10^9 positions": ({"network": {"pos_embed_max_size": 10**9}}, "pos_embed_max_size"),
    "a factor of 10^9": ({"codec_factor": 10**9}, "codec_factor"),
    "10^12 steps": ({"sampler": {"steps": 10**12}}, "steps"),
    "a scale that is not a number": ({"residual_scale": float("nan")}, "residual_scale is nan"),
    "an infinite maximum": ({"curve_maximum": float("inf")}, "curve_maximum is inf"),
    "a negative infinity of guidance": ({"faithful": {"guidance_scale": float("-inf")}}, "guidance_scale"),
    "an MTF of nan": ({"sensor": {"mtf_nyquist": float("nan")}}, "mtf_nyquist"),
    "scales that are a number": ({"sensor": {"scales": 5}}, "scales is 5"),
    "a sensor that is text": ({"sensor": "abc"}, "must be an object"),
    "a tile that is text": ({"tile_px": "128"}, "tile_px is '128'"),
    "a name that is a list": ({"name": [1]}, "name is [1]"),
    "an autoencoder that is a number": ({"kind": "published", "autoencoder": 5}, "autoencoder is 5"),
    "an autoencoder outside": ({"kind": "published", "autoencoder": "../../etc"}, "outside its folder"),
    "an endless autoencoder": ({"kind": "published", "autoencoder": "/dev/zero"}, "no autoencoder"),
}


def merged(record: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    parts = {k: {**record[k], **v} if isinstance(v, dict) and isinstance(record.get(k), dict) else v
             for k, v in change.items()}  # fmt: skip
    return {key: value for key, value in {**record, **parts}.items() if value is not None}


def verdicts(paths: list[Path]) -> tuple[dict[str, tuple[str, float]], int]:
    """{case: (sentence, CPU seconds)} in the order of `paths`, and the process's largest memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, *map(str, paths)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-2000:])
    found, memory = json.loads(done.stdout.splitlines()[-1])
    return {name: (text, seconds) for name, text, seconds in found}, memory


@pytest.fixture
def valid(catalog: Path, weights: Path, tmp_path: Path) -> dict[str, Any]:
    return sample_record(catalog, weights, tmp_path / "out", box(100, 200, 220, 120))


def check(cases: dict[str, str], folder: Path, valid: dict[str, Any]) -> None:
    """Each `folder/<case>.yaml` is refused in one line that holds the case's words; the limits hold for all."""
    (folder / "valid.yaml").write_text(yaml.safe_dump(valid))
    names = ["valid", *cases]  # the first one pays for imports
    found, memory = verdicts([folder / f"{name}.yaml" for name in [*names, "valid"]])
    assert found["valid"][0] == ""
    wrong = {
        name: found[name]
        for name, words in cases.items()
        if words not in found[name][0]
        or "TRACEBACK" in found[name][0]
        or "\n" in found[name][0]
        or len(found[name][0]) > 1000
        or found[name][1] > found["valid"][1] + 1
    }
    assert not wrong
    assert memory < 500e6


def test_absurd_keys_of_a_request(valid: dict[str, Any], tmp_path: Path) -> None:
    for name, (change, _) in CHANGES.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(merged(valid, change)))
    check({name: words for name, (_, words) in CHANGES.items()}, tmp_path, valid)


def test_odd_and_deep_outlines(valid: dict[str, Any], tmp_path: Path) -> None:
    for number, (name, (text, _)) in enumerate(OUTLINES.items()):
        (tmp_path / f"outline_{number}.geojson").write_text(text)
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump(merged(valid, {"bounds": None, "geojson": f"outline_{number}.geojson"}))
        )
    deep = '{"type":"GeometryCollection","geometries":[' * 50_000 + "]}" * 50_000
    (tmp_path / "land.geojson").write_text(deep)
    (tmp_path / "deep land.yaml").write_text(yaml.safe_dump({**valid, "land": "land.geojson"}))
    check({**{name: words for name, (_, words) in OUTLINES.items()}, "deep land": "64 deep"}, tmp_path, valid)


def test_yaml_that_grows_as_it_is_read(valid: dict[str, Any], tmp_path: Path) -> None:
    for name, (text, _) in TEXTS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "source.yaml").write_text(BOMB)
    (tmp_path / "a source of aliases.yaml").write_text(yaml.safe_dump({**valid, "lr": {"source": "./source.yaml"}}))
    check({**{name: words for name, (_, words) in TEXTS.items()}, "a source of aliases": "aliases"}, tmp_path, valid)


def test_weights_with_absurd_numbers(valid: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    known = json.loads((weights / "config.json").read_text())
    for number, (name, (change, _)) in enumerate(CONFIGS.items()):
        folder = tmp_path / f"weights_{number}"
        shutil.copytree(weights, folder)
        (folder / "config.json").write_text(json.dumps(merged(known, change)))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**valid, "model": {"weights": str(folder)}}))
    check({name: words for name, (_, words) in CONFIGS.items()}, tmp_path, valid)
