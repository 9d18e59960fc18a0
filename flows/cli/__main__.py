"""`python -m flows.cli`: the command `dsdit`."""

from flows.cli.main import app

if __name__ == "__main__":
    app()
