"""The layer-wise averaged network of Puny et al. in PyTorch: what the JAX network is timed against.

A restatement of our own of the published architecture, with the tensor operations that its PyTorch
code uses: features of each edge are gathered and concatenated, messages are added with
`index_add`, the eight frames are rows of one large batch, and the frame has no derivative.

It imports nothing but PyTorch, so any interpreter that has it can run it as a program. It then
obeys a line of its input at a time: `forward` or `step` runs one, and answers with the seconds of
processor time that it took.

    python experiments/benchmarks/speed/puny_torch.py --threads 1

References:
  Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
  arXiv:2110.03336; Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021,
  arXiv:2102.09844, whose unconstrained graph network its layers are.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

Call = Callable[[], object]


class Layer(nn.Module):
    """One round of messages: `m = MLP(h_i, h_j, e)`, `h_i + MLP(h_i, sum m)`."""

    def __init__(self, features: int, edge_features: int):
        super().__init__()
        self.edge = nn.Sequential(
            nn.Linear(2 * features + edge_features, features),
            nn.SiLU(),
            nn.Linear(features, features),
            nn.SiLU(),
        )
        self.node = nn.Sequential(
            nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, features)
        )

    def forward(self, h: Tensor, receivers: Tensor, senders: Tensor, edges: Tensor) -> Tensor:
        messages = self.edge(torch.cat([h[receivers], h[senders], edges], dim=1))
        total = torch.zeros_like(h).index_add(0, receivers, messages)
        return h + self.node(torch.cat([h, total], dim=1))


class LayerwiseNetwork(nn.Module):
    """Four layers, each averaged over the eight PCA frames of its own features."""

    def __init__(self, features: int = 60, layers: int = 4, edge_features: int = 2):
        super().__init__()
        self.embedding = nn.Linear(2, features // 3, bias=False)
        self.layers = nn.ModuleList(Layer(features, edge_features) for _ in range(layers))
        self.decoder = nn.Linear(features // 3, 1, bias=False)
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3)
        self.register_buffer("signs", signs)

    def forward(
        self, position: Tensor, velocity: Tensor, receivers: Tensor, senders: Tensor, edges: Tensor
    ) -> Tensor:
        """Positions after the time step, `(systems, bodies, 3)` like the inputs."""
        systems, bodies, _ = position.shape
        centred = position - position.mean(1, keepdim=True)
        h = self.embedding(torch.stack([centred, velocity], -1)).transpose(2, 3)
        for layer in self.layers:
            frames = self.frames(h)
            turned = torch.einsum("snca,sfab->fsncb", h, frames)
            rows = turned.reshape(len(self.signs) * systems * bodies, -1)
            out = layer(rows, receivers, senders, edges).reshape(turned.shape)
            h = torch.einsum("fsncb,sfab->snca", out, frames) / len(self.signs)
        return position + velocity + self.decoder(h.transpose(2, 3))[..., 0]

    def frames(self, h: Tensor) -> Tensor:
        """The principal axes of the features of each system, with all signs."""
        cloud = h.detach().flatten(1, 2)
        _, axes = torch.linalg.eigh(cloud.transpose(1, 2) @ cloud)
        return axes[:, None] * self.signs[None, :, None, :]


def make_calls(systems: int = 100, bodies: int = 5, features: int = 60) -> dict[str, Call]:
    """The forward pass and the training step, each a function without arguments."""
    torch.manual_seed(0)
    network = LayerwiseNetwork(features)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-8)
    position, velocity, target = torch.randn(3, systems, bodies, 3)
    charge = torch.randint(0, 2, (systems, bodies)) * 2.0 - 1
    pairs = [(i, j) for i in range(bodies) for j in range(bodies) if i != j]
    first, second = torch.tensor(pairs).T
    offsets = bodies * torch.arange(8 * systems)[:, None]
    receivers, senders = ((offsets + end).flatten() for end in (first, second))

    def predict() -> Tensor:
        distance = (position[:, first] - position[:, second]).norm(dim=-1)
        seen = torch.stack([charge[:, first] * charge[:, second], distance], dim=-1)
        edges = seen.flatten(0, 1).repeat(8, 1)
        return network(position, velocity, receivers, senders, edges)

    def forward() -> Tensor:
        with torch.no_grad():
            return predict()

    def step() -> None:
        optimizer.zero_grad()
        (predict() - target).square().mean().backward()
        optimizer.step()

    return {"forward": forward, "step": step}


def main() -> None:
    """Answers each line of the input with the processor time of one call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--systems", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    calls = make_calls(options.systems)
    for line in sys.stdin:
        call = calls[line.strip()]
        begin = time.process_time()
        call()
        print(time.process_time() - begin, flush=True)


if __name__ == "__main__":
    main()
