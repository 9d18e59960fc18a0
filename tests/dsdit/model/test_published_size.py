"""The network at its published size: names, shapes and number of tensors, and one pass at full width."""

import torch

from dsdit.model import DSDiTConfig
from dsdit.model.weights import meta_network

PUBLISHED = DSDiTConfig(depth=24, hidden_size=1536, num_heads=24)


def published_shapes(depth: int, d: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published layout, written down apart from the network."""
    layers: dict[str, tuple[int, ...]] = {
        **{f"{stream}_embedder.proj": (d, 16, 2, 2) for stream in ("x", "lr", "ref")},
        "t_embedder.mlp.0": (d, 256),
        "t_embedder.mlp.2": (d, d),
        "final_layer.linear": (64, d),
        "final_layer.adaLN_modulation.1": (2 * d, d),
    }
    for n in range(depth):
        for stream in ("x", "lr", "ref"):
            block = f"joint_blocks.{n}.{stream}_block"
            layers |= {
                f"{block}.attn.qkv": (3 * d, d),
                f"{block}.attn.proj": (d, d),
                f"{block}.mlp.fc1": (4 * d, d),
                f"{block}.mlp.fc2": (d, 4 * d),
                f"{block}.adaLN_modulation.1": (6 * d, d),
            }
        gate, first = f"joint_blocks.{n}.weighting.gate", 3 * d // 8
        layers |= {
            f"{gate}.0": (first, 3 * d),
            f"{gate}.2": (first // 8, first),
            f"{gate}.4": (2, first // 8),
            f"joint_blocks.{n}.weighting.zero_proj": (d, d),
        }
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, 192 * 192, d)}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def test_the_published_network_has_these_tensors() -> None:
    network = meta_network(PUBLISHED)
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert {n: tuple(t.shape) for n, t in network.state_dict().items()} == published_shapes(24, 1536)
    assert len(network.state_dict()) == 927
    assert sum(p.numel() for p in network.parameters()) == 3_188_556_976


def test_one_pass_at_full_width() -> None:
    torch.manual_seed(0)
    network = meta_network(DSDiTConfig(depth=2, hidden_size=1536, num_heads=24)).to_empty(device="cpu")
    network.eval().requires_grad_(False)
    drawn = torch.randn(1_000_003)
    for tensor in network.state_dict().values():
        count = tensor.numel()
        spread = tensor[0].numel() ** -0.5 if tensor.ndim in (2, 4) else 0.1
        tensor.copy_(spread * drawn.repeat(count // len(drawn) + 1)[:count].view(tensor.shape))
    x, lr, ref = torch.randn(3, 1, 16, 16, 24)
    velocity = network(x, torch.tensor([700.0]), lr, ref)
    assert velocity.shape == x.shape
    assert torch.isfinite(velocity).all()
    assert 0.01 < velocity.std() < 100
    assert not torch.allclose(velocity, network(x, torch.tensor([700.0]), lr, ref, 0.0), rtol=0, atol=1e-4)
