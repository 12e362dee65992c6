"""Compressors as their authors or well-kept libraries wrote them: writes public.json.

    pip install torch numpy && pip install --no-deps openfl==1.9
    git clone https://github.com/sands-lab/grace && git -C grace checkout fd3a7f42
    python tests/vectors/methods/public.py --grace grace

EDEN is that of OpenFL, written by the paper's authors; PowerSGD is PyTorch's hook of DistributedDataParallel, with error
feedback and warm start; QSGD, TernGrad and scaled signs are those of GRACE (Xu et al., ICDCS 2021), whose QSGD, unlike
FedLab's, divides by the Euclidean norm as the paper does. Only their random draws are replaced, by those of the SDK's testbed
(codecs.py beside this file), or, PowerSGD's first Q, written down. The tests in the plugins hold what they decode to these
numbers within 1e-5.
"""

import argparse
import importlib
import importlib.util
import json
import pathlib
import sys
import types

import numpy
import torch
import torch.distributed
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

HERE = pathlib.Path(__file__).parent


def draws():
    """codecs.py, whose name is also a module of Python's own."""
    spec = importlib.util.spec_from_file_location("colla_codecs", HERE / "codecs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CODECS = draws()


def eden_class():
    """OpenFL's class alone: the package's other pipelines need libraries that this one does not."""
    import openfl

    package = types.ModuleType("openfl.pipelines")
    package.__path__ = [str(pathlib.Path(openfl.__path__[0]) / "pipelines")]
    sys.modules["openfl.pipelines"] = package
    return importlib.import_module("openfl.pipelines.eden_pipeline").Eden


def eden(coder_class, x, bits, rotations):
    coder = coder_class(nbits=bits)
    coder.num_hadamard = rotations

    def signs(size, seed):
        """Of rotation `seed`: a set bit of the client's stream is a minus."""
        words = CODECS.words(CODECS.CLIENT_SCOPE, seed, size // 32 + 1)
        return torch.tensor([-1.0 if words[i // 32] >> (i % 32) & 1 else 1.0 for i in range(size)])

    coder.rand_diag = signs
    bins, scale, padded = coder.compress_slice(x.clone(), 0)
    return coder.decompress_slice(bins, scale, padded, 0)[: len(x)]


def through_grace(compressor, x):
    """Compressed and decompressed, with the testbed's draws in place of torch's."""
    uniforms = torch.tensor(CODECS.uniforms(CODECS.CLIENT_SCOPE, 0, len(x)))
    original = torch.Tensor.uniform_
    torch.Tensor.uniform_ = lambda self, low=0.0, high=1.0: self.copy_(low + uniforms * (high - low))
    try:
        return compressor.decompress(*compressor.compress(x.clone(), "x"))
    finally:
        torch.Tensor.uniform_ = original


class Gradient(torch.nn.Module):
    """A parameter whose gradient is whatever is given."""

    def __init__(self, shape):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(shape))

    def forward(self, gradient):
        return (self.weight * gradient).sum()


def powersgd(shape, rank, updates):
    """What one worker makes of gradients that follow each other, and the Q that it started from."""
    state = powerSGD_hook.PowerSGDState(
        process_group=None, matrix_approximation_rank=rank, start_powerSGD_iter=2, min_compression_rate=1
    )
    model = torch.nn.parallel.DistributedDataParallel(Gradient(shape))
    model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    seen = []
    original = powerSGD_hook._orthogonalize

    def orthogonalize(matrices, epsilon=0):
        seen.append(matrices[0].clone())
        original(matrices, epsilon)

    powerSGD_hook._orthogonalize = orthogonalize
    decoded = []
    # The hook demands two steps without compression; they leave no trace in its state.
    for update in [updates[0], updates[0], *updates]:
        model.zero_grad()
        model(update).backward()
        decoded.append(model.module.weight.grad.clone())
    powerSGD_hook._orthogonalize = original
    return seen[0], decoded[2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grace", required=True, help="a checkout of github.com/sands-lab/grace")
    sys.path.insert(0, parser.parse_args().grace)
    qsgd, terngrad, signs = (
        getattr(importlib.import_module(f"grace_dl.torch.compressor.{module}"), name)
        for module, name in [
            ("qsgd", "QSGDCompressor"), ("terngrad", "TernGradCompressor"), ("efsignsgd", "EFSignSGDCompressor"),
        ]
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    rng = numpy.random.default_rng(23)

    def values(*shape):
        return torch.tensor((rng.standard_normal(shape) * 0.1).astype(numpy.float32))

    x, peaked = values(60), values(250)
    peaked[17] = 3.0  # a single large value, which one rotation spreads badly
    out = {"round": CODECS.ROUND, "client": CODECS.CLIENT, "values": x, "peaked": peaked}
    Eden = eden_class()
    out["eden"] = [
        {"bits": bits, "rotations": rotations, "given": name, "decoded": eden(Eden, out[name], bits, rotations)}
        for name, rotations in [("values", 1), ("values", 2), ("peaked", 2)]
        for bits in [1, 2, 3, 4]
    ]
    # GRACE's quantum_num is s, the number of levels above zero.
    out["qsgd"] = [
        {"bits": bits, "decoded": through_grace(qsgd(2 ** (bits - 1) - 1), x)} for bits in [2, 4, 8, 10]
    ]
    out["terngrad"] = [{"clip": 2.5, "decoded": through_grace(terngrad(), x)}]
    out["signsgd"] = [{"decoded": through_grace(signs(1.0), x)}]
    out["powersgd"] = []
    for shape, rank in [((6, 10), 1), ((12, 7), 2), ((16, 9), 3), ((8, 3, 3, 3), 2)]:
        base = values(*shape)
        updates = [base + values(*shape) for _ in range(3)]
        q, decoded = powersgd(shape, rank, updates)
        # Column by column, as the plugin keeps it.
        rounds = [{"update": update, "decoded": product} for update, product in zip(updates, decoded)]
        out["powersgd"].append({"shape": list(shape), "rank": rank, "q": q.T, "rounds": rounds})
    text = json.dumps(out, default=lambda tensor: tensor.flatten().tolist())
    rounded = json.loads(text, parse_float=lambda text: float(f"{float(text):.9g}"))
    (HERE / "public.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
