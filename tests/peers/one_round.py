"""One round of CollA against the same round of a PyTorch loop: same initial weights, cohort, rows and batch order.

    cargo build --release --bins
    python tests/peers/one_round.py --mnist FOLDER                    # needs torch and numpy; see README.md beside this file

For each task of examples/tasks, PyTorch draws the initial weights, `colla-host` trains one round from them, `colla-dev
batches` tells who trained on which rows in which order, and PyTorch does the same: its own layers, loss and SGD, and the
mean of the local weights. Printed is the largest absolute difference of any weight of the common model. The same round in
double precision, rounded once at the end, tells how far either is from what exact arithmetic would give: where training
multiplies PyTorch's own roundings beyond the tolerance, twice their effect is allowed, and `--local-steps` compares
before that.
"""

import argparse
import gzip
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5

MODELS = {
    "t1": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
    ),
    "t2": lambda: nn.Sequential(
        nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
    ),
    "t3": lambda: nn.Sequential(nn.Linear(784, 10)),
}
LEARNING_RATE = 0.1


def idx(folder, stem):
    """A file of MNIST, gzipped or not, with `-` or `.` before `idx`."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for path, opener in ((folder / f"{name}.gz", gzip.open), (folder / name, open)):
            if path.is_file():
                with opener(path, "rb") as file:
                    raw = file.read()
                rank = raw[3]
                shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
                return numpy.frombuffer(raw, numpy.uint8, offset=4 + 4 * rank).reshape(shape)
    sys.exit(f"{folder}: no {stem}")


def training_set(folder):
    """Pixels minus their mean, divided by their standard deviation, both over the whole training set."""
    pixels = idx(folder, "train-images-idx3-ubyte").reshape(60000, 784)
    mean, deviation = pixels.mean(dtype=numpy.float64), pixels.std(dtype=numpy.float64)
    scale, shift = numpy.float32(1 / deviation), numpy.float32(-mean / deviation)
    features = pixels.astype(numpy.float32) * scale + shift
    return torch.from_numpy(features), torch.from_numpy(idx(folder, "train-labels-idx1-ubyte").astype(numpy.int64))


def read_safetensors(path):
    """Names and arrays in the order in which they stand in the file."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    body, tensors = raw[8 + length :], {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(body[first:end], numpy.float32).reshape(entry["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, offset, body = {}, 0, b""
    for name, array in tensors.items():
        data = numpy.ascontiguousarray(array, numpy.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def colla_layout(array):
    """A matrix stands as [inputs, outputs] in CollA, the other way round in PyTorch; everything else is alike."""
    return array.T if array.ndim == 2 else array


def round_in_torch(model, features, labels, clients, dtype):
    """FedAvg over clients of equal size: the mean of the local weights, summed in double precision."""
    model = model.to(dtype)
    features = features.to(dtype)
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    total = torch.zeros_like(start, dtype=torch.float64)
    for client in clients:
        nn.utils.vector_to_parameters(start.clone(), model.parameters())
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        for rows in client["batches"]:
            optimizer.zero_grad()
            F.cross_entropy(model(features[rows]), labels[rows]).backward()
            optimizer.step()
        total += nn.utils.parameters_to_vector(model.parameters()).detach().double()
    return (total / len(clients)).float()


def compare(task, options, features, labels):
    torch.manual_seed(options.seed)
    model = MODELS[task]()
    config = str(ROOT / f"examples/tasks/{task}.toml")
    settings = ["--set", f"data.path={json.dumps(str(options.mnist.resolve()))}"]
    if options.local_steps:
        settings += ["--set", f"train.local-steps={options.local_steps}"]
    colla = [str(options.bin / "colla-host"), config, "--quiet", "--rounds", "1", *settings]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # What the tensors are called, and their order, which is PyTorch's.
        subprocess.run([*colla, "--out", str(folder / "names")], check=True)
        names = read_safetensors(folder / "names/model.safetensors").keys()
        initial = dict(zip(names, (colla_layout(p.detach().numpy()) for p in model.parameters()), strict=True))
        write_safetensors(folder / "initial.safetensors", initial)
        given = f"model.init={json.dumps(str(folder / 'initial.safetensors'))}"
        subprocess.run([*colla, "--set", given, "--out", str(folder / "run")], check=True)
        ours = read_safetensors(folder / "run/model.safetensors")
        listed = [str(options.bin / "colla-dev"), "batches", config, "--round", "1", *settings]
        lines = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = numpy.concatenate([colla_layout(array).ravel() for array in ours.values()])
    clients = [json.loads(line) for line in lines]
    start = nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()
    single = round_in_torch(model, features, labels, clients, torch.float32).numpy()
    nn.utils.vector_to_parameters(torch.from_numpy(start.copy()), model.parameters())
    double = round_in_torch(model, features, labels, clients, torch.float64).numpy()
    difference = [float(numpy.abs(a - b).max()) for a, b in ((ours, single), (ours, double), (single, double))]
    moved = float(numpy.abs(ours - start).max())
    steps = sum(len(client["batches"]) for client in clients)
    print(
        f"| {task} | {len(clients)} | {steps} | {moved:.3f} | {difference[0]:.1e} | {difference[1]:.1e} | {difference[2]:.1e} |",
        flush=True,
    )
    return difference[0] <= max(TOLERANCE, 2 * difference[2]) and moved > 100 * TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=["t1", "t2", "t3"], help="of t1, t2, t3")
    parser.add_argument("--mnist", type=pathlib.Path, required=True, help="folder of the four IDX files")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release", help="folder of the built programs")
    parser.add_argument("--local-steps", type=int, help="steps of each client in place of one epoch")
    parser.add_argument("--seed", type=int, default=0, help="of PyTorch's initial weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    features, labels = training_set(options.mnist)
    print(f"PyTorch {torch.__version__}; largest absolute difference of any weight after one round")
    print("| task | clients | steps | largest change | CollA − PyTorch | CollA − double | PyTorch − double |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    same = [compare(task, options, features, labels) for task in options.tasks]
    sys.exit(0 if all(same) else f"more than {TOLERANCE} and than rounding explains apart, or nothing was trained")


if __name__ == "__main__":
    main()
