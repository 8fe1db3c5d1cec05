"""The layer-wise averaged network of Puny et al. in PyTorch: a program that a `Peer` runs.

A restatement of the published architecture, with the operations that its PyTorch code uses:
features of both ends of each edge are gathered and concatenated, messages are added with
`index_add`, the eight frames are rows of one large batch, and the frame has no derivative.

It needs PyTorch alone, so that any interpreter that has it can run it. Its first line says what it
can time; it then obeys lines of a name and a count, and answers each with the seconds of one.

    echo "step 10" | python experiments/benchmarks/speed/puny_torch.py --threads 1

References:
  Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
  arXiv:2110.03336; Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021,
  arXiv:2102.09844, whose unconstrained graph network its layers are.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

_BODIES, _FEATURES, _LAYERS = 5, 60, 4


def main() -> None:
    """Obeys the lines of its input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--systems", type=int, default=100)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        _say({"missing": (error.name or "torch").partition(".")[0]})
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    calls = _calls(torch, options.systems)
    _say({"names": list(calls), "versions": {"torch": torch.__version__}})
    now = time.perf_counter if options.clock == "wall" else time.process_time
    for line in sys.stdin:
        name, count = line.rsplit(maxsplit=1)
        call = calls[name]
        begin = now()
        for _ in range(int(count)):
            call()
        print((now() - begin) / int(count), flush=True)


def _calls(torch: Any, systems: int) -> dict[str, Callable[[], object]]:
    """The forward pass, and the training step."""
    channels = _FEATURES // 3

    def linear(inputs: int, outputs: int, bias: bool = True) -> Any:
        return torch.nn.Linear(inputs, outputs, bias=bias)

    def perceptron(inputs: int, *after: Any) -> Any:
        maps = linear(inputs, _FEATURES), torch.nn.SiLU(), linear(_FEATURES, _FEATURES)
        return torch.nn.Sequential(*maps, *after)

    embedding, decoder = linear(2, channels, False), linear(channels, 1, False)
    of_edges = [perceptron(2 * _FEATURES + 2, torch.nn.SiLU()) for _ in range(_LAYERS)]
    of_nodes = [perceptron(2 * _FEATURES) for _ in range(_LAYERS)]
    modules = torch.nn.ModuleList([embedding, decoder, *of_edges, *of_nodes])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3)
    position, velocity, target = torch.randn(3, systems, _BODIES, 3)
    charge = torch.randint(0, 2, (systems, _BODIES)) * 2.0 - 1
    pairs = [(i, j) for i in range(_BODIES) for j in range(_BODIES) if i != j]
    first, second = torch.tensor(pairs).T
    starts = _BODIES * torch.arange(len(signs) * systems)[:, None]
    receivers, senders = ((starts + end).flatten() for end in (first, second))

    def predict() -> Any:
        distance = (position[:, first] - position[:, second]).norm(dim=-1)
        seen = torch.stack([charge[:, first] * charge[:, second], distance], dim=-1)
        edges = seen.flatten(0, 1).repeat(len(signs), 1)
        centred = position - position.mean(1, keepdim=True)
        h = embedding(torch.stack([centred, velocity], -1)).transpose(2, 3)
        for edge, node in zip(of_edges, of_nodes, strict=True):
            cloud = h.detach().flatten(1, 2)
            _, axes = torch.linalg.eigh(cloud.transpose(1, 2) @ cloud)
            frames = axes[:, None] * signs[None, :, None, :]
            turned = torch.einsum("snca,sfab->fsncb", h, frames)
            rows = turned.reshape(-1, _FEATURES)
            messages = edge(torch.cat([rows[receivers], rows[senders], edges], dim=1))
            total = torch.zeros_like(rows).index_add(0, receivers, messages)
            rows = rows + node(torch.cat([rows, total], dim=1))
            h = torch.einsum("fsncb,sfab->snca", rows.reshape(turned.shape), frames) / len(signs)
        return position + velocity + decoder(h.transpose(2, 3))[..., 0]

    def forward() -> Any:
        with torch.no_grad():
            return predict()

    def step() -> None:
        optimizer.zero_grad()
        (predict() - target).square().mean().backward()
        optimizer.step()

    return {"forward": forward, "step": step}


def _say(about: dict[str, Any]) -> None:
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
