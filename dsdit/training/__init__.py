"""Training of the small network that ships with the package. Importing this package loads torch."""

from dsdit.training.config import TrainingConfig, read_training_config
from dsdit.training.loop import train

__all__ = ["TrainingConfig", "read_training_config", "train"]
