"""Sources as data: the shipped ones, a user's own, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from catalogs.source import SOURCES_FOLDER, Source, known_sources, load_source
from dsdit.errors import RequestError

SHIPPED = {
    "sample-lr",
    "sample-ref",
    "earth-search-sentinel-2",
    "earth-search-sentinel-2-l2a",
    "earth-search-naip",
    "earth-search-landsat",
    "planetary-computer-sentinel-2",
    "planetary-computer-naip",
    "planetary-computer-landsat",
}


def record(name: str = "sample-lr") -> dict[str, Any]:
    return yaml.safe_load((SOURCES_FOLDER / f"{name}.yaml").read_text())


def written(folder: Path, **changes: object) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**record(), **changes}))
    return path


def test_shipped_sources_load_under_their_own_names() -> None:
    assert set(known_sources()) == SHIPPED
    for name in known_sources():
        source = load_source(name)
        assert source.name == name
        assert source.is_local == name.startswith("sample")
        assert source.is_local or (source.hosts and source.endpoint and source.endpoint.startswith("https://"))
        assert Source.model_validate(source.model_dump(mode="json")) == source


@pytest.mark.parametrize("catalog", ["earth-search", "planetary-computer"])
def test_each_catalog_has_its_families(catalog: str) -> None:
    collections = {load_source(n).collection for n in known_sources() if n.startswith(catalog)}
    wanted = {"sentinel-2-l2a", "naip", "landsat-c2-l2"}
    assert collections == wanted | ({"sentinel-2-c1-l2a"} if catalog == "earth-search" else set())
    landsat = load_source(f"{catalog}-landsat")
    assert landsat.assets == ("red", "green", "blue", "qa_pixel")
    assert landsat.rule.model_dump() == {"kind": "fixed", "scale": 2.75e-5, "offset": -0.2}
    assert landsat.requester_pays == (catalog == "earth-search")


def test_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r"'sentinel'.*earth-search-naip.*sample-ref"):
        load_source("sentinel")


def test_an_endpoint_in_a_file_is_relative_to_the_file_and_one_given_beside_it_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, here = tmp_path / "own", tmp_path / "here"
    own.mkdir()
    here.mkdir()
    (own / "items.json").write_text("{}")
    monkeypatch.chdir(here)
    for endpoint, root in (("items.json", own), ("./", own), ("../own", own), (str(here / "x.json"), here)):
        path = written(own, endpoint=endpoint)
        for name in (path, "../own/own.yaml"):
            assert load_source(name).root.resolve() == root.resolve(), endpoint
    shipped = load_source("sample-lr")
    assert shipped.endpoint is None
    assert shipped.at("items.json").endpoint == str(here / "items.json")
    assert load_source(path).at("items.json").endpoint == str(here / "items.json")
    assert shipped.at("items.json", own).endpoint == str(own / "items.json")


def test_a_shipped_source_has_its_paths_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    written(shipped, endpoint="catalog/items.json")
    monkeypatch.setattr("catalogs.source.SOURCES_FOLDER", shipped)
    monkeypatch.chdir(tmp_path)
    assert load_source("own").endpoint == str(tmp_path / "catalog/items.json")


def test_own_file_counts_its_endpoint_from_its_folder(tmp_path: Path) -> None:
    path = written(tmp_path, endpoint="catalog/items.json")
    for source in (load_source(path), load_source("own.yaml", base=tmp_path)):
        assert source.endpoint == str(tmp_path / "catalog/items.json")
        assert source.root == tmp_path / "catalog"


def test_a_fourth_band_comes_after_red_green_and_blue() -> None:
    bands = {"nir": {"asset": "b8"}, **record()["bands"]}
    source = Source.model_validate(record() | {"bands": bands})
    assert source.band_names == ("red", "green", "blue", "nir")
    assert set(source.assets) == {"b8", *Source.model_validate(record()).assets}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, "colour"),
        ({"bands": {"red": {"asset": "a"}}}, "green, blue"),
        ({"bands": {**record()["bands"], "near infrared": {"asset": "a"}}}, "near infrared"),
        ({"endpoint": "http://catalog.example/v1"}, "http"),
        ({"endpoint": "http://127.0.0.1:1"}, "http"),
        ({"endpoint": "https://me:secret@catalog.example/v1"}, "login"),
        ({"endpoint": "ftp://catalog.example/v1"}, "neither https nor a path"),
        ({"endpoint": "https://catalog.example", "collection": None}, "collection"),
        ({"mtf_nyquist": 0.9}, "mtf_nyquist"),
        ({"drivers": ["VRT"]}, "drivers"),
        ({"derivatives": "maybe"}, "derivatives"),
        ({"attribution": "data of {month} {year}"}, "{month}"),
        ({"name": "../x"}, "name"),
        ({"where": "platform =="}, "no CQL2"),
        ({"mask": {"kind": "bits", "cloud": [16]}}, "mask"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    source = record() | changes
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(source))
    if said == "neither https nor a path":
        with pytest.raises(ValueError, match=said):
            Source.model_validate(source)
        return
    with pytest.raises(RequestError, match=said) as error:
        load_source(path)
    assert "secret" not in str(error.value)


def test_digest_follows_pixels_and_nothing_else() -> None:
    source = load_source("sample-lr")
    assert source.digest == source.at("/elsewhere/items.json").digest
    assert source.digest == source.model_copy(update={"licence": "other"}).digest
    changed: list[dict[str, Any]] = [
        {"nodata": 1},
        {"rule": {"kind": "display"}},
        {"mask": {"kind": "none"}},
        {"mtf_nyquist": 0.3},
    ]
    digests = {Source.model_validate({**record(), **change}).digest for change in changed}
    assert len(digests | {source.digest}) == 5


def test_loopback_may_be_http_where_the_source_says_so() -> None:
    source = Source.model_validate({**record(), "schemes": ["http"], "endpoint": "http://127.0.0.1:1"})
    assert not source.is_local
