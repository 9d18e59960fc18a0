"""Imports: the tensors arrive unchanged under the right names, and what does not fit is reported in one sentence."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsdit.errors import WeightsError
from dsdit.model import DSDiT, DSDiTConfig
from dsdit.model.header import check_weights
from dsdit.model.importing import SD3_LICENCE, import_weights
from dsdit.model.weights import load_weights
from tests.support.checkpoints import SMALL, sd3_state_dict, state_dict


def written(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    """Pickled with args, pickled bare, or as safetensors, by the name."""
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors, "args": argparse.Namespace(x=1)} if path.stem == "args" else tensors, path)
    return path


@pytest.mark.parametrize("name", ["args.pt", "bare.pt", "bare.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [SMALL, replace(SMALL, depth=3, num_heads=4, qk_norm="rms", patch_size=4)])
def test_a_checkpoint_arrives_unchanged(tmp_path: Path, name: str, dtype: torch.dtype, config: DSDiTConfig) -> None:
    tensors = state_dict(config, dtype)
    made = import_weights(written(tensors, tmp_path / name), tmp_path / "out", "CC-BY 4.0")
    assert made.config.network == config
    assert (made.config.kind, made.config.name, made.config.licence) == ("published", "out", "CC-BY 4.0")
    assert made.parameters == sum(t.numel() for t in tensors.values())
    assert check_weights(tmp_path / "out") == (made.config, made.digest)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert set(stored) == set(tensors)
    assert all(torch.equal(stored[n], t) and stored[n].dtype == dtype for n, t in tensors.items())


def test_all_kinds_of_files_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = state_dict()
    made = [
        import_weights(written(tensors, tmp_path / name), tmp_path / f"out{k}", "CC0", name="same").digest
        for k, name in enumerate(["args.pt", "bare.pt", "bare.safetensors"])
    ]
    assert len(set(made)) == 1


def test_sd3_lends_its_x_stream(tmp_path: Path) -> None:
    source = sd3_state_dict()
    made = import_weights(written(source, tmp_path / "sd3.safetensors"), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert made.config.network == SMALL
    assert set(stored) == set(state_dict())
    copied = 0
    for name, value in stored.items():
        if ".weighting." in name:
            continue
        own = name.replace("lr_", "x_").replace("ref_", "x_")
        assert torch.equal(value, source["model.diffusion_model." + own]), name
        copied += own != name
    assert copied == 2 * (2 + 2 * 10)
    assert made.ignored == {
        "first_stage_model.": 1,
        "text_encoders.": 1,
        "context_embedder.": 1,
        "joint_blocks.*.context_block.": 20,
        "y_embedder.": 2,
    }


def test_plw_starts_as_nothing_and_the_same_each_time(tmp_path: Path) -> None:
    source = written(sd3_state_dict(), tmp_path / "sd3.safetensors")
    digests = {import_weights(source, tmp_path / f"out{k}", name="same").digest for k in range(2)}
    assert len(digests) == 1
    stored = load_file(tmp_path / "out0" / "model.safetensors")
    for block in range(2):
        start = f"joint_blocks.{block}.weighting."
        plw = {n.removeprefix(start): t for n, t in stored.items() if n.startswith(start)}
        silent = {n for n, t in plw.items() if not t.any()}
        assert set(plw) - silent == {"gate.0.weight", "gate.2.weight"}
        first = plw["gate.0.weight"].float()
        assert first.abs().max() <= (6 / sum(first.shape)) ** 0.5 + 1e-3
        assert first.std() == pytest.approx((2 / sum(first.shape)) ** 0.5, rel=0.05)
    gates = [stored[f"joint_blocks.{block}.weighting.gate.0.weight"] for block in range(2)]
    assert not torch.equal(*gates)


def test_a_network_from_sd3_runs_and_does_not_distinguish_lr_from_ref(tmp_path: Path) -> None:
    import_weights(written(sd3_state_dict(), tmp_path / "sd3.safetensors"), tmp_path / "out")
    network = DSDiT(SMALL).requires_grad_(False)
    network.load_state_dict({n: t.float() for n, t in load_file(tmp_path / "out" / "model.safetensors").items()})
    x, lr, ref = torch.randn(3, 1, 16, 8, 12)
    time = torch.tensor([500.0])
    velocity = network(x, time, lr, ref)
    assert torch.isfinite(velocity).all()
    assert torch.allclose(velocity, network(x, time, ref, lr), rtol=0, atol=1e-4)
    assert not torch.allclose(velocity, network(x, time, lr, lr), rtol=0, atol=1e-2)


def test_licences(tmp_path: Path) -> None:
    source = written(state_dict(), tmp_path / "bare.pt")
    for nothing in (None, "", "  "):
        with pytest.raises(WeightsError, match="--license"):
            import_weights(source, tmp_path / "out", nothing)
    assert not (tmp_path / "out").exists()
    sd3 = written(sd3_state_dict(), tmp_path / "sd3.safetensors")
    assert import_weights(sd3, tmp_path / "one").config.licence == SD3_LICENCE
    assert "Stability AI Community License" in SD3_LICENCE
    assert import_weights(sd3, tmp_path / "two", "Own terms.").config.licence == SD3_LICENCE + " Own terms."


@pytest.mark.parametrize("sd3", [False, True])
def test_missing_extra_and_misshapen_are_one_error(tmp_path: Path, sd3: bool) -> None:
    tensors = sd3_state_dict() if sd3 else state_dict()
    prefix = "model.diffusion_model." if sd3 else ""
    del tensors[prefix + "t_embedder.mlp.2.bias"]
    tensors[prefix + "joint_blocks.0.x_block.attn2.qkv.weight"] = torch.zeros(384, 128)
    tensors[prefix + "final_layer.linear.bias"] = torch.zeros(3)
    tensors[prefix + "x_embedder.proj.bias"] = torch.zeros(128, dtype=torch.int32)
    with pytest.raises(WeightsError) as refused:
        import_weights(written(tensors, tmp_path / "x.safetensors"), tmp_path / "out", "CC0")
    text = str(refused.value)
    assert "missing ['t_embedder.mlp.2.bias']" in text
    assert "joint_blocks.0.x_block.attn2.qkv.weight" in text.split("unknown")[1].split("other shapes")[0]
    assert "final_layer.linear.bias: file (3,), network (64,)" in text
    assert "x_embedder.proj.bias" in text.split("not floating-point")[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pos_embed": torch.zeros(1, 143, 128)}, "pos_embed has 143 places"),
        ({"pos_embed": torch.zeros(143)}, "no DS-DiT or SD3 network"),
        ({"x_embedder.proj.weight": torch.zeros(100, 16, 2, 2)}, "100 channels.*head size 64"),
        ({"joint_blocks.999999999.x_block.attn.qkv.bias": torch.zeros(384)}, "blocks are missing"),
        ({"joint_blocks.0.x_block.attn.ln_q.weight": torch.zeros(0)}, "head size 0"),
    ],
)
def test_impossible_networks_are_refused(tmp_path: Path, change: dict[str, torch.Tensor], match: str) -> None:
    source = written({**state_dict(), **change}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=match):
        import_weights(source, tmp_path / "out", "CC0")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    source = written({"layer.weight": torch.zeros(3, 3)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"no DS-DiT or SD3 network.*layer\.weight"):
        import_weights(source, tmp_path / "out", "CC0")


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    source = written(state_dict(), tmp_path / "x.safetensors")
    before = import_weights(source, tmp_path / "out", "CC0").digest
    with pytest.raises(WeightsError, match="already"):
        import_weights(source, tmp_path / "out", "CC0")
    assert check_weights(tmp_path / "out")[1] == before


def test_sampling_wants_an_autoencoder(tmp_path: Path) -> None:
    import_weights(written(state_dict(), tmp_path / "x.safetensors"), tmp_path / "out", "CC0")
    with pytest.raises(WeightsError, match='"autoencoder"'):
        load_weights(tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "autoencoder": "nowhere"}))
    with pytest.raises(WeightsError, match="nowhere, which does not exist"):
        load_weights(tmp_path / "out")
