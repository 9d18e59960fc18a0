from .autoencoder import PixelCodec as PixelCodec
from .config import DSDiTConfig as DSDiTConfig
from .header import WeightsHeader as WeightsHeader
from .header import read_header as read_header
from .latent_model import Conditions as Conditions
from .latent_model import Denoised as Denoised
from .network import DSDiT as DSDiT
from .preconditioning import TinyModel as TinyModel
from .weights import Weights as Weights
from .weights import load_weights as load_weights
from .weights import save_weights as save_weights
from .weights_config import WeightsConfig as WeightsConfig

__all__ = [
    "Conditions",
    "DSDiT",
    "DSDiTConfig",
    "Denoised",
    "PixelCodec",
    "TinyModel",
    "Weights",
    "WeightsConfig",
    "WeightsHeader",
    "load_weights",
    "read_header",
    "save_weights",
]
