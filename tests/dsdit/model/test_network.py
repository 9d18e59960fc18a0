"""What the published numbers do not show: shapes that are refused, q/k norm, starting values."""

import pytest
import torch

from dsdit.model import DSDiT, DSDiTConfig
from dsdit.model.network import PatchEmbed, position_table

SMALL = DSDiTConfig(depth=1, hidden_size=32, num_heads=2, in_channels=4, pos_embed_max_size=8, qk_norm="rms")


def test_rms_norm_has_the_names_of_sd35():
    names = {k for k in DSDiT(SMALL).state_dict() if ".ln_" in k}
    assert names == {f"joint_blocks.0.{s}_block.attn.ln_{p}.weight" for s in ("x", "lr", "ref") for p in ("q", "k")}


def test_a_new_network_is_silent_and_weighs_evenly():
    x = torch.randn(2, 4, 8, 12)
    velocity, weighting = DSDiT(SMALL)(x, torch.tensor([1000.0, 10.0]), x, x, return_weighting=True)
    assert velocity.shape == x.shape
    assert torch.all(velocity == 0)
    assert torch.all(weighting == 0.5)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 4, 7, 8), (1, 4, 8, 18)])
def test_inputs_that_do_not_fit_are_refused(shape):
    x = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"wanted|position table"):
        DSDiT(SMALL)(x, torch.ones(1), x, x)


def test_streams_of_different_shapes_are_refused():
    x = torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="differ in shape"):
        DSDiT(SMALL)(x, torch.ones(1), x, x[..., :4])


@pytest.mark.parametrize(
    "values",
    [{"depth": 0}, {"num_heads": 3}, {"hidden_size": 30}, {"qk_norm": "layer"}, {"patch_size": 2.0}, {"depth": True}],
)
def test_config_is_validated(values):
    good = {"depth": 1, "hidden_size": 32, "num_heads": 2}
    with pytest.raises(ValueError, match=next(iter(values)) if "hidden_size" not in values else "hidden_size"):
        DSDiTConfig(**{**good, **values})


@pytest.mark.parametrize(("size", "hidden"), [(1, 4), (7, 12), (192, 1536)])
def test_the_position_table_is_sd3s(size, hidden):
    table = position_table(size, hidden).view(size, size, hidden)
    assert not table[0, 0, : hidden // 4].any() and (table[0, 0, hidden // 4 : hidden // 2] == 1).all()
    place = torch.arange(size, dtype=torch.float64)[:, None]
    angle = place / 10000.0 ** (torch.arange(hidden // 4, dtype=torch.float64) / (hidden // 4))
    wave = torch.cat([angle.sin(), angle.cos()], 1).float()
    assert torch.allclose(table[0, :, : hidden // 2], wave, rtol=0, atol=1e-6)
    assert torch.equal(table[:, 0, hidden // 2 :], table[0, :, : hidden // 2])


def busy(qk_norm):
    torch.manual_seed(0)
    network = DSDiT(DSDiTConfig(2, 32, 2, in_channels=4, pos_embed_max_size=8, qk_norm=qk_norm))
    for tensor in network.requires_grad_(False).parameters():
        tensor.normal_(0, 0.3)
    return network


@pytest.mark.parametrize("qk_norm", [None, "rms"])
def test_the_size_of_queries_and_keys_counts_without_rms_norm_alone(qk_norm):
    network = busy(qk_norm)
    x, lr, ref = torch.randn(3, 1, 4, 8, 12)
    before = network(x, torch.tensor([300.0]), lr, ref)
    for block in network.joint_blocks:
        for stream in (block.x_block, block.lr_block, block.ref_block):
            stream.attn.qkv.weight[:64] *= 4
            stream.attn.qkv.bias[:64] *= 4
    after = network(x, torch.tensor([300.0]), lr, ref)
    assert torch.allclose(before, after, rtol=0, atol=1e-3) == (qk_norm == "rms")


def test_queries_and_keys_have_the_rms_of_their_norms():
    attention = busy("rms").joint_blocks[0].x_block.attn
    attention.ln_q.weight.fill_(2.0)
    attention.ln_k.weight.fill_(0.5)
    q, k, _ = attention.project(torch.randn(2, 5, 32))
    assert torch.allclose(q.square().mean(-1).sqrt(), torch.full((2, 2, 5), 2.0), atol=1e-3)
    assert torch.allclose(k.square().mean(-1).sqrt(), torch.full((2, 2, 5), 0.5), atol=1e-3)


def test_ref_scale_may_be_one_number_a_sample_with_rms_norm():
    network = busy("rms")
    x, lr, ref = torch.randn(3, 3, 4, 8, 12)
    t = torch.tensor([900.0, 300.0, 5.0])
    together = network(x, t, lr, ref, torch.tensor([1.0, 0.0, 0.4]))
    for i, ref_scale in enumerate((1.0, 0.0, 0.4)):
        one = slice(i, i + 1)
        alone = network(x[one], t[one], lr[one], ref[one], ref_scale)
        assert torch.allclose(together[one], alone, rtol=1e-3, atol=1e-3)


def test_patches_are_the_same_as_a_product_and_as_a_convolution():
    embed, latent = PatchEmbed(SMALL), torch.randn(2, 4, 8, 12)
    assert torch.allclose(embed._product(latent), embed(latent), rtol=0, atol=1e-5)
