"""PCA frames and projected clouds in PyTorch: a program that a `Peer` runs.

It needs PyTorch and NumPy alone, so that any interpreter that has them can run it. Where it finds
`frame_averaging_pytorch` (PyPI: frame-averaging-pytorch), it times that too.

    python experiments/benchmarks/speed/torch_frames.py --threads 1 --shape 16384 5 3
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

LIBRARY = "frame-averaging-pytorch"
PLAIN = "torch.linalg.eigh"


def main() -> None:
    """Obeys the lines of its input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    try:
        calls, versions = _calls(options)
    except ImportError as error:
        _say({"missing": (error.name or "torch").partition(".")[0]})
        return
    _say({"names": list(calls), "versions": versions})
    now = time.perf_counter if options.clock == "wall" else time.process_time
    for line in sys.stdin:
        name, count = line.rsplit(maxsplit=1)
        call = calls[name]
        begin = now()
        for _ in range(int(count)):
            call()
        print((now() - begin) / int(count), flush=True)


def _calls(options: argparse.Namespace) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    draw = np.random.default_rng(0).normal(size=options.shape).astype(np.float32)
    clouds = torch.from_numpy(draw)
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=options.shape[2])))

    def plain() -> Any:
        centred = clouds - clouds.mean(dim=1, keepdim=True)
        axes = torch.linalg.eigh(centred.mT @ centred).eigenvectors
        return centred[:, None] @ (axes[:, None] * signs[:, None, :])

    calls = {PLAIN: plain}
    versions = {"torch": torch.__version__}
    try:
        from importlib.metadata import version

        from frame_averaging_pytorch import FrameAverage
    except ImportError:
        return calls, versions
    average = FrameAverage(dim=options.shape[2])
    calls[LIBRARY] = lambda: average(clouds)[0]
    return calls, versions | {LIBRARY: version(LIBRARY)}


def _say(about: dict[str, Any]) -> None:
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
