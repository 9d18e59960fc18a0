"""A folder of one's own: pairs to train on, pairs held out, and the log lines about it."""

import csv
import logging
import shutil

import numpy as np
import pytest

from dsdit.errors import RequestError
from dsdit.evaluation.pairs import read_pairs, read_singles
from dsdit.training import TrainingConfig
from dsdit.training.loop import cut_validation
from dsdit.training.reading import held_out, read_scenes
from dsdit.training.validation import Validation
from tests.dsdit.training.tiny import SETTINGS, pair, write


def own_folder(root, names, columns=(), **values):
    """pairs/ with A_ and B_ of `names`, and a manifest of `columns` where there are any."""
    rng = np.random.default_rng(0)
    (root / "pairs").mkdir(parents=True)
    for name in names:
        scene = pair(rng, name)
        write(root / "pairs" / f"A_{name}.png", scene.ref)
        write(root / "pairs" / f"B_{name}.png", scene.hr)
    if columns:
        with (root / "pairs" / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for k, name in enumerate(names):
                row = {"id": name, "split": "val" if k == 0 else "train", **values}
                writer.writerow({key: row[key] for key in columns})
    return root


def ids(scenes):
    return [scene.id for scene in scenes]


def test_a_manifest_without_licences_is_taken_whole_and_reported(tmp_path):
    notes = []
    train, val = read_scenes(own_folder(tmp_path, ["a", "b", "c"], ("split", "id")), ["*"], notes.append)
    assert (ids(train), ids(val)) == (["b", "c"], ["a"])
    assert len(notes) == 1 and "no column licence_class" in notes[0] and "3 images" in notes[0]


def test_licences_in_a_manifest_are_respected(data):
    notes = []
    train, val = read_scenes(data, ["naipca", "single"], notes.append)
    assert (ids(train), ids(val)) == (["naipca-0", "naipca-1", "uav-0", "uav-1"], ["naipca-2"])
    assert notes == []


@pytest.mark.parametrize("column", [{"split": "test"}, {"licence_class": "research"}, {"licence_class": ""}])
def test_nothing_left_is_one_sentence(tmp_path, column):
    values = {"licence_class": "clear", "split": "train", **column}
    own_folder(tmp_path, ["a", "b"], ("split", "id", "licence_class"), **values)
    with pytest.raises(RequestError) as error:
        read_scenes(tmp_path, ["*"], print)
    text = str(error.value)
    assert str(tmp_path / "pairs") in text and "\n" not in text
    assert all(word in text for word in ("split", "id", "licence_class", "'clear'"))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "pairs").mkdir()
    with pytest.raises(RequestError, match=r"A_<id>.*B_<id>"):
        read_scenes(tmp_path, ["*"], print)


def test_without_a_manifest_some_pairs_are_held_out(tmp_path):
    names = [f"place_{k}" for k in range(12)]
    notes = []
    train, val = read_scenes(own_folder(tmp_path, names), ["*"], notes.append)
    assert val and len(train) > len(val) and not set(ids(train)) & set(ids(val))
    assert sorted(ids(train) + ids(val)) == sorted(names)
    assert len(notes) == 1 and f"{len(val)} of 12 pairs" in notes[0]
    assert set(ids(val)) == held_out(reversed(names))


def test_what_is_held_out_depends_on_the_id_alone():
    names = [f"n{k}" for k in range(400)]
    kept = held_out(names)
    assert 30 < len(kept) < 70
    assert held_out(names[:200]) == kept & set(names[:200])
    assert held_out(["one"]) == set() and len(held_out(["one", "two"])) == 1


def test_single_images_are_read_where_they_are_wanted(tmp_path, data):
    own_folder(tmp_path, ["a", "b", "c"], ("split", "id"))
    with pytest.raises(RequestError, match=r"single.manifest\.csv is missing.*origin"):
        read_scenes(tmp_path, ["*", "single"], print)
    (tmp_path / "single").mkdir()
    shutil.copy(data / "single" / "uav-0.jpg", tmp_path / "single")
    (tmp_path / "single" / "manifest.csv").write_text("split,id\ntrain,uav-0\n")
    notes = []
    train, _ = read_scenes(tmp_path, ["*", "single"], notes.append)
    assert ids(train) == ["b", "c", "uav-0"] and len(notes) == 2
    assert [s.origin for s in read_singles(tmp_path, "train")] == ["single"]
    alone, val = read_scenes(data, ["single"], print)
    assert {s.origin for s in alone} == {"single", "naipca"} and ids(val) == ["naipca-2"]


def test_evaluation_reads_such_a_manifest_too(tmp_path):
    own_folder(tmp_path, ["a", "b"], ("split", "id"))
    assert ids(read_pairs(tmp_path, "val", ("clear",))) == ["a"]


def test_validation_takes_pairs_of_any_size(caplog):
    rng = np.random.default_rng(0)
    scenes = [pair(rng, f"p{k}", *size) for k, size in enumerate([(144, 160), (64, 256), (200, 136), (128, 128)])]
    validation = Validation.cut(scenes, 8, 128)
    assert validation.hr.shape == validation.ref.shape == (3, 3, 128, 128) and validation.lr.shape == (3, 3, 16, 16)
    assert Validation.cut(scenes[:1], 10, 120).lr.shape == (1, 3, 12, 12)
    assert Validation.cut(scenes[1:2], 8, 128) is None and Validation.cut([], 8, 128) is None
    with caplog.at_level(logging.INFO, "dsdit.training"):
        assert cut_validation(TrainingConfig(**SETTINGS), scenes[1:2]) is None
    assert "none of 1 validation pairs has sides of 128 px" in caplog.text
    at_ten = {**SETTINGS, "data": {"origins": {"p0": 1.0}, "scales": {10: 0.7, 8: 0.3}}, "crop_px": 64}
    assert cut_validation(TrainingConfig(**at_ten), scenes).lr.shape[-1] == 8
