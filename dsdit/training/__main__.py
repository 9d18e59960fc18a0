"""`python -m dsdit.training CONFIG.yaml --data DIR --out DIR [--minutes N] [--resume]`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rich.logging import RichHandler

from dsdit.errors import DsditError
from dsdit.training import read_training_config, train


def main() -> None:
    """Reads the command line, trains, and prints where the weights are."""
    parser = argparse.ArgumentParser(prog="python -m dsdit.training", description=__doc__)
    parser.add_argument("config", type=Path, help="YAML with the settings of the run")
    parser.add_argument("--data", type=Path, required=True, help="folder with pairs/, and single/ if CONFIG names it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the weights")
    parser.add_argument("--minutes", type=float, help="length of the run, instead of the file's")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, if there is one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    try:
        config = read_training_config(arguments.config, arguments.minutes)
        weights = train(config, arguments.data, arguments.out, arguments.resume)
    except DsditError as error:
        raise SystemExit(str(error)) from error
    print(weights)


if __name__ == "__main__":
    main()
