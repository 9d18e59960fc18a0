"""Memory of imports and loading, as anonymous memory of a process of its own: files are mapped, not read.

An import may take 0.15 of the larger of its two files, loading 1.15 of the parameters. A small network is judged
against what the same steps take for a tiny one, since torch alone takes some 150 MB.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsdit.model import DSDiTConfig
from dsdit.model.weights import meta_network
from tests.support.checkpoints import SMALL
from tests.support.memory import peak_anonymous_bytes

IMPORT, LOAD = 0.15, 1.15
SLACK = 6_000_000
"""Bytes by which two runs of the same code differ."""
MIDDLE = DSDiTConfig(depth=2, hidden_size=768, num_heads=12, pos_embed_max_size=32)
LARGE = DSDiTConfig(depth=8, hidden_size=1536, num_heads=24)
IMPORT_CODE = """
import sys
from pathlib import Path
from dsdit.model.importing import import_weights
import_weights(Path(sys.argv[1]), Path(sys.argv[2]), "CC0")
"""
LOAD_CODE = """
import sys
from pathlib import Path
import torch
from dsdit.model.tensor_file import assign_tensors, open_safetensors
from dsdit.model.weights import check_weights, meta_network
config, digest = check_weights(sys.argv[1])
network = meta_network(config.network)
dtype = getattr(torch, sys.argv[2])
assign_tensors(network, open_safetensors(Path(sys.argv[1]) / "model.safetensors"), "cpu", dtype)
assert all(t.dtype == dtype for t in network.state_dict().values())
"""


def write_source(config: DSDiTConfig, path: Path) -> None:
    """A checkpoint in half precision; as SD3 where the file is named so."""
    drawn = torch.randn(1_000_003).half()
    tensors = {}
    for name, value in meta_network(config).state_dict().items():
        if path.suffix == ".safetensors":
            if any(part in name for part in ("lr_", "ref_", "weighting")):
                continue
            if ".x_block." in name:
                context = "model.diffusion_model." + name.replace("x_block", "context_block")
                tensors[context] = torch.zeros(value.shape, dtype=torch.float16)
            name = "model.diffusion_model." + name
        tensors[name] = drawn.repeat(value.numel() // len(drawn) + 1)[: value.numel()].view(value.shape).clone()
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors}, path)


@dataclass(frozen=True)
class Peaks:
    """Peak bytes of one network's way."""

    imported: int
    float32: int
    float16: int
    file: int
    """The larger of source and output."""
    parameters: int
    """How many."""


def measure(folder: Path, config: DSDiTConfig, source: str) -> Peaks:
    folder.mkdir()
    path, out = folder / source, folder / "out"
    write_source(config, path)
    imported = peak_anonymous_bytes(IMPORT_CODE, path, out)
    stored = out / "model.safetensors"
    file = max(path.stat().st_size, stored.stat().st_size)
    path.unlink()
    loaded = [peak_anonymous_bytes(LOAD_CODE, out, dtype) for dtype in ("float32", "float16")]
    parameters = stored.stat().st_size // 2
    stored.unlink()
    return Peaks(imported, *loaded, file, parameters)


@pytest.mark.parametrize("source", ["published.pt", "sd3.safetensors"])
def test_a_network_of_70_million(tmp_path: Path, source: str) -> None:
    tiny, peaks = measure(tmp_path / "tiny", SMALL, source), measure(tmp_path / "middle", MIDDLE, source)
    assert 60e6 < peaks.parameters < 80e6
    assert peaks.imported - tiny.imported <= IMPORT * peaks.file + SLACK
    assert peaks.float32 - tiny.float32 <= LOAD * 4 * peaks.parameters + SLACK
    assert peaks.float16 - tiny.float16 <= SLACK, "tensors of the computing type are mapped"
    assert peaks.float32 - tiny.float32 >= 0.9 * 4 * peaks.parameters, "the measurement sees converted tensors"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["published.pt", "sd3.safetensors"])
def test_a_network_of_a_billion(tmp_path: Path, source: str, record_property) -> None:
    peaks = measure(tmp_path / "large", LARGE, source)
    record_property("peaks", str(peaks))
    print(peaks)
    assert peaks.parameters > 1e9
    assert peaks.imported <= IMPORT * peaks.file
    assert peaks.float32 <= LOAD * 4 * peaks.parameters
    assert peaks.float16 <= LOAD * 2 * peaks.parameters
