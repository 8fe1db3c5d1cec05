"""Where things are: the repository, and real data that lie beside it where they are at hand."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
SHARED = ROOT.parent / "shared" / "data"
