"""The smallest run: a network of one block and four steps."""

SETTINGS = {
    "network": {"depth": 1, "hidden_size": 32, "num_heads": 1, "pos_embed_max_size": 20},
    "data": {"origins": {"naipca": 1.0}, "scales": {8: 1.0}},
    "batch": 2,
    "steps": 4,
    "autocast": False,
}
