"""Memory of imports and loading, as anonymous memory of a process of its own: files are mapped, not read.

An import may take 0.15 of the larger of its two files, loading 1.15 of the parameters. A small network is judged
against what the same steps take for a tiny one, since torch alone takes some 150 MB. Weights are loaded by
`load_weights`; a stand-in without tensors replaces the autoencoder, so that the network alone is measured.
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
SOURCES = ["published.pt", "sd3.safetensors"]
LARGE = DSDiTConfig(depth=8, hidden_size=1536, num_heads=24)
IMPORT_CODE = """
import sys
from pathlib import Path
from dsdit.model.importing import import_weights
import_weights(Path(sys.argv[1]), Path(sys.argv[2]), "CC0", autoencoder=str(Path(sys.argv[2]).parent / "vae"))
"""
LOAD_CODE = """
import sys
from types import SimpleNamespace
import torch
from dsdit.model import sd3_autoencoder, weights
sd3_autoencoder.open_autoencoder = lambda *_: SimpleNamespace(channels=16, factor=8)
dtype = getattr(torch, sys.argv[2])
model = weights.load_weights(sys.argv[1], dtype=dtype).model
assert all(t.dtype == dtype for t in model.network.state_dict().values())
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
class Imported:
    """An import that was measured."""

    peak: int
    """Bytes of anonymous memory at most."""
    file: int
    """Bytes of the larger of source and output."""
    folder: Path
    """The weights."""

    @property
    def parameters(self) -> int:
        """Numbers in the output, each of two bytes."""
        return (self.folder / "model.safetensors").stat().st_size // 2

    def loaded(self, dtype: str) -> int:
        """Bytes of anonymous memory that loading takes at most."""
        return peak_anonymous_bytes(LOAD_CODE, self.folder, dtype)


def imported(folder: Path, config: DSDiTConfig, source: str) -> Imported:
    folder.mkdir(exist_ok=True)
    path, out = folder / source, folder / "out"
    write_source(config, path)
    (folder / "vae").mkdir()
    peak = peak_anonymous_bytes(IMPORT_CODE, path, out)
    file = max(path.stat().st_size, (out / "model.safetensors").stat().st_size)
    path.unlink()
    return Imported(peak, file, out)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return imported(tmp_path_factory.mktemp("tiny"), SMALL, "published.pt")


@pytest.mark.parametrize("source", SOURCES)
def test_import_of_70_million(tmp_path: Path, tiny: Imported, source: str) -> None:
    made = imported(tmp_path, MIDDLE, source)
    assert 60e6 < made.parameters < 80e6
    assert made.peak - tiny.peak <= IMPORT * made.file + SLACK


@pytest.mark.short
def test_loading_of_70_million(tmp_path: Path, tiny: Imported) -> None:
    made = imported(tmp_path, MIDDLE, "published.pt")
    converted = made.loaded("float32") - tiny.loaded("float32")
    assert 0.9 <= converted / (4 * made.parameters) <= LOAD, "as little as 0.9 would mean that nothing was measured"
    assert made.loaded("float16") - tiny.loaded("float16") <= SLACK, "tensors of the computing type are mapped"


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_network_of_a_billion(tmp_path: Path, source: str) -> None:
    made = imported(tmp_path, LARGE, source)
    single, half = made.loaded("float32"), made.loaded("float16")
    print(f"{source}: import {made.peak:,} of {made.file:,} bytes, float32 {single:,}, float16 {half:,}")
    assert made.parameters > 1e9
    assert made.peak <= IMPORT * made.file
    assert single <= LOAD * 4 * made.parameters
    assert half <= LOAD * 2 * made.parameters
    (made.folder / "model.safetensors").unlink()
