"""The network, the codec, and the folders that hold weights. Importing this package loads torch."""

from dsdit.model.autoencoder import PixelCodec
from dsdit.model.config import DSDiTConfig
from dsdit.model.network import DSDiT
from dsdit.model.preconditioning import Conditions, Denoised, TinyModel
from dsdit.model.weights import Weights, WeightsConfig, load_weights, save_weights

__all__ = [
    "Conditions",
    "DSDiT",
    "DSDiTConfig",
    "Denoised",
    "PixelCodec",
    "TinyModel",
    "Weights",
    "WeightsConfig",
    "load_weights",
    "save_weights",
]
