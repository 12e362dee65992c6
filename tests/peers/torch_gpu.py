"""FedAvg by hand in PyTorch on one CUDA card: the yardstick for `colla-host --device cuda`.

usage: torch_gpu.py TASK VARIANT MNIST_FOLDER [ROUNDS]
  TASK     t1 (CNN, 10 clients x 600 a round), t2 (2NN, the same), t3 (logistic regression, 100 clients x 60)
  VARIANT  eager  one client after another
           graph  the same, each step a replayed CUDA graph
           vmap   all clients of a round in lockstep with torch.func, weights stacked, each step a replayed CUDA graph
                  where capture succeeds (field `graph`)

FedAvg with SGD, batches of 10 without a remainder, one epoch, learning rate 0.1, clients of equal weight, and a central
evaluation on the 10,000 test images in each round. Data lie on the card; products may round to TF32, as CubeCL's do.
Prints one JSON line: seconds of each round (the first with all warming up apart), test accuracy of each round.
"""
import gzip, json, os, struct, sys, time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

TASKS = {
    "t1": dict(model="cnn", clients=100, rows=600, cohort=10),
    "t2": dict(model="mlp", clients=100, rows=600, cohort=10),
    "t3": dict(model="lr", clients=1000, rows=60, cohort=100),
}
BATCH, RATE, SEED = 10, 0.1, 0
CARD = torch.device("cuda")


def idx(folder, stem):
    for name in (stem, stem + ".gz"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with (gzip.open if name.endswith(".gz") else open)(path, "rb") as file:
                magic, = struct.unpack(">I", file.read(4))
                shape = struct.unpack(">" + "I" * (magic & 255), file.read(4 * (magic & 255)))
                return np.frombuffer(file.read(), np.uint8).reshape(shape)
    raise SystemExit(f"{folder}: neither {stem} nor {stem}.gz")


def load(folder):
    def images(stem):
        x = torch.from_numpy(idx(folder, stem).copy()).to(CARD).float().flatten(1)
        return (x / 255 - 0.1307) / 0.3081
    def labels(stem):
        return torch.from_numpy(idx(folder, stem).astype(np.int64)).to(CARD)
    return (images("train-images-idx3-ubyte"), labels("train-labels-idx1-ubyte"),
            images("t10k-images-idx3-ubyte"), labels("t10k-labels-idx1-ubyte"))


def build(kind):
    if kind == "cnn":
        return nn.Sequential(nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))
    if kind == "mlp":
        return nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))
    return nn.Sequential(nn.Linear(784, 10))


def captured(step):
    """`step` as a CUDA graph, after the warming up that capture asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class OneByOne:
    """A model that clients pass through, its parameters views of one flat vector."""

    def __init__(self, model, x, y, graph):
        self.x, self.y, self.parameters, self.graph = x, y, list(model.parameters()), graph
        self.flat = nn.utils.parameters_to_vector(self.parameters).detach().clone()
        at = 0
        for parameter in self.parameters:
            parameter.data = self.flat[at:at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self.model = model
        self.rows = torch.zeros(BATCH, dtype=torch.int64, device=CARD)
        before = self.flat.clone()
        self.replay = captured(self.step) if graph else self.step
        self.flat.copy_(before)

    def step(self):
        loss = F.cross_entropy(self.model(self.x[self.rows]), self.y[self.rows])
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, gradients, alpha=-RATE)

    def round(self, weights, cohort):
        total = torch.zeros_like(weights)
        for rows in cohort:
            self.flat.copy_(weights)
            for batch in rows[torch.randperm(len(rows), device=CARD)].view(-1, BATCH):
                self.rows.copy_(batch)
                self.replay()
            total += self.flat
        return total / len(cohort)


class Lockstep:
    """All clients of a round at once: torch.func.vmap over stacked parameters."""

    def __init__(self, model, x, y, clients):
        from torch.func import functional_call, grad, vmap
        self.x, self.y, self.names = x, y, [name for name, _ in model.named_parameters()]
        self.shapes = [parameter.shape for parameter in model.parameters()]
        self.stack = [p.detach().expand(clients, *p.shape).clone() for p in model.parameters()]
        self.rows = torch.zeros(clients, BATCH, dtype=torch.int64, device=CARD)

        def loss(parameters, x, y):
            return F.cross_entropy(functional_call(model, dict(zip(self.names, parameters)), (x,)), y)

        self.gradients = vmap(grad(loss), randomness="error")
        self.replay, self.graph = self.step, False
        try:
            self.replay, self.graph = captured(self.step), True
        except Exception as error:  # some operations under vmap cannot be captured
            print(f"no graph: {error}", file=sys.stderr)

    def step(self):
        gradients = self.gradients(tuple(self.stack), self.x[self.rows], self.y[self.rows])
        torch._foreach_add_(self.stack, list(gradients), alpha=-RATE)

    def round(self, weights, cohort):
        at = 0
        for stack, shape in zip(self.stack, self.shapes):
            stack.copy_(weights[at:at + shape.numel()].view(shape).expand_as(stack))
            at += shape.numel()
        order = torch.stack([rows[torch.randperm(len(rows), device=CARD)] for rows in cohort])
        for batch in order.view(len(cohort), -1, BATCH).transpose(0, 1):
            self.rows.copy_(batch)
            self.replay()
        return torch.cat([stack.mean(0).flatten() for stack in self.stack])


@torch.no_grad()
def accuracy(model, weights, x, y):
    nn.utils.vector_to_parameters(weights.clone(), model.parameters())
    hits = sum((model(x[i:i + 2500]).argmax(1) == y[i:i + 2500]).sum() for i in range(0, len(y), 2500))
    return hits.item() / len(y)


def main():
    name, variant, folder = sys.argv[1:4]
    rounds, task = int(sys.argv[4]) if len(sys.argv) > 4 else 6, TASKS[name]
    torch.manual_seed(SEED)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    x, y, xe, ye = load(folder)
    permutation = torch.randperm(len(y), device=CARD)[:task["clients"] * task["rows"]]
    shares = permutation.view(task["clients"], task["rows"])
    model, judge = build(task["model"]).to(CARD), build(task["model"]).to(CARD)
    weights = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    seconds, scores = [], []
    trainer = None
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        if trainer is None:
            trainer = Lockstep(model, x, y, task["cohort"]) if variant == "vmap" else OneByOne(model, x, y, variant == "graph")
        cohort = [shares[i] for i in torch.randperm(task["clients"])[:task["cohort"]].tolist()]
        weights = trainer.round(weights, cohort)
        scores.append(accuracy(judge, weights, xe, ye))
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    rest = sorted(seconds[1:])
    print(json.dumps(dict(task=name, what=f"torch-{variant}", graph=trainer.graph, torch=torch.__version__,
                          card=torch.cuda.get_device_name(), first_round_s=round(seconds[0], 4),
                          median_round_s=round(rest[len(rest) // 2], 5), rounds_s=[round(s, 5) for s in seconds],
                          accuracy=scores)))


if __name__ == "__main__":
    main()
