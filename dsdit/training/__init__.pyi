from .config import TrainingConfig as TrainingConfig
from .config import read_training_config as read_training_config
from .loop import train as train

__all__ = ["TrainingConfig", "read_training_config", "train"]
