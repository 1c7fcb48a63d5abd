"""The package ``models`` with another registry, for processes whose PYTHONPATH begins with the folder above this one:
the modules beside this file come first, all others are the project's."""

from pathlib import Path

__path__ = [str(Path(__file__).parent), str(Path(__file__).parents[4] / "models")]
