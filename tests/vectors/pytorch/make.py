"""What PyTorch makes of the local training cases beside this file: NAME.in.json -> NAME.out.json.

    COLLA_WRITE_VECTORS=1 cargo test --release --lib train::pytorch     # only after a change of the cases
    pip install torch numpy && python tests/vectors/pytorch/make.py

Independent of the host: layers, losses, momentum, weight decay and the proximal term are PyTorch's, in float32 on one
thread. Only weights, rows and batch order come from the input; matrices there are [inputs, outputs], PyTorch's the
other way round.
"""

import json
import math
import pathlib

import numpy
import torch
import torch.nn.functional as F

PIXELS = 1 << 28  # where the formula starts for pixels; weights start at 0
SAMPLES = 40  # values kept of a tensor that is too large to keep whole


def mix(x):
    """The 32-bit mixing function of the formula, on an array."""
    x = x.astype(numpy.uint32)
    x = (x ^ (x >> 16)) * numpy.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * numpy.uint32(0x846CA68B)
    return x ^ (x >> 16)


def weights_by_formula(shapes):
    offset, fan_in, out = 0, 1, []
    for shape in shapes:
        if len(shape) == 2:
            fan_in = shape[0]
        elif len(shape) > 2:
            fan_in = math.prod(shape[1:])
        n = math.prod(shape)
        u = (mix(numpy.arange(offset, offset + n)) >> 8) / 2.0**24
        out.append(((2 * u - 1) / math.sqrt(fan_in)).astype(numpy.float32))
        offset += n
    return numpy.concatenate(out)


def forward(model, tensors, x):
    for _ in range(2 if model in ("cnn", "cnn-bn") else 0):
        x, tensors = F.conv2d(x, *tensors[:2], padding=2), tensors[2:]
        if model == "cnn-bn":
            scale, shift, running_mean, running_var = tensors[:4]
            # PyTorch's defaults for momentum and epsilon; it moves the running statistics in place.
            x, tensors = F.batch_norm(x, running_mean, running_var, scale, shift, training=True), tensors[4:]
        x = F.max_pool2d(F.relu(x), 2)
    x = x.flatten(1)
    for i in range(0, len(tensors), 2):
        x = F.linear(x if i == 0 else F.relu(x), tensors[i].T, tensors[i + 1])
    return x


def train(case):
    shapes = [shape for _, shape in case["tensors"]]
    flat = case["initial_weights"] or weights_by_formula(shapes)
    flat = torch.tensor(numpy.asarray(flat, dtype=numpy.float32))
    tensors = [
        part.reshape(shape).clone().requires_grad_("running_" not in name)
        for part, (name, shape) in zip(flat.split([math.prod(s) for s in shapes]), case["tensors"])
    ]
    learnt = [t for t in tensors if t.requires_grad]
    received = [t.detach().clone() for t in learnt]
    labels = torch.tensor(case["labels"])
    pixels = case["pixels"] or mix(PIXELS + numpy.arange(len(labels) * math.prod(case["sample_shape"]))) % 256
    pixels = torch.tensor(numpy.asarray(pixels, dtype=numpy.float32)).reshape(-1, *case["sample_shape"])
    features = pixels * case["scale"] + case["shift"]
    optimizer = torch.optim.SGD(
        learnt, lr=case["learning_rate"], momentum=case["momentum"], weight_decay=case["weight_decay"]
    )
    losses = []
    for batch in case["batches"]:
        logits = forward(case["model"], tensors, features[batch])
        if case["num_classes"] == 2:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], labels[batch].float())
        else:
            loss = F.cross_entropy(logits, labels[batch])
        losses.append(loss.item())
        if case["prox_mu"]:
            loss = loss + case["prox_mu"] / 2 * sum(((t - r) ** 2).sum() for t, r in zip(learnt, received))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, [t.detach() for t in tensors]


def summary(name, tensor):
    values = tensor.flatten()
    every = 1 if len(values) <= 2000 else len(values) // SAMPLES
    return {
        "name": name,
        "every": every,
        "values": [float(f"{v:.9g}") for v in values[::every].tolist()],
        "sum": values.double().sum().item(),
        "sum_of_squares": values.double().square().sum().item(),
    }


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for path in sorted(pathlib.Path(__file__).parent.glob("*.in.json")):
        case = json.loads(path.read_text())
        losses, tensors = train(case)
        result = {
            "torch": torch.__version__,
            "losses": losses,
            "tensors": [summary(name, t) for (name, _), t in zip(case["tensors"], tensors)],
        }
        out = path.with_name(path.name.replace(".in.", ".out."))
        out.write_text(json.dumps(result) + "\n")
        print(f"{out.name}: {len(losses)} steps, loss {losses[0]:.6f} -> {losses[-1]:.6f}")


if __name__ == "__main__":
    main()
