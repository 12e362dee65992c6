"""Compressors and normalizers in NumPy, from the formulas of their papers: writes codecs.json.

    pip install numpy && python tests/vectors/methods/codecs.py

Independent of the host and of the plugins: float64 throughout, dense matrices in place of fast transforms, sorting in place
of selection. Only the random words are shared: those of the SDK's testbed, SplitMix64 keyed by (scope, stream, round,
client), which are written down again here. The tests in the plugins hold what they decode to these numbers within 1e-5.
"""

import json
import pathlib

import numpy

HERE = pathlib.Path(__file__).parent
ROUND, CLIENT = 3, 5
ROUND_SCOPE, CLIENT_SCOPE = 1, 2
MASK = (1 << 64) - 1
# Lloyd-Max centroids of the normal distribution, to the digits of the EDEN authors' table.
CENTROIDS = {
    1: [0.7978845608028654],
    2: [0.4527800398860679, 1.5104176087114887],
    3: [0.24509416307340598, 0.7560052489539643, 1.3439092613750225, 2.151945669890335],
    4: [0.12839501671105813, 0.38804823445328507, 0.6567589957631145, 0.9423402689122875,
        1.2562309480263467, 1.6180460517130526, 2.069016730231837, 2.732588804065177],
}


def mixed(state, word):
    z = ((state ^ word) + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draws(scope, stream, count):
    key = 0
    for word in [scope, stream, ROUND, CLIENT if scope == CLIENT_SCOPE else 0]:
        key = mixed(key, word)
    return [mixed(key, i) for i in range(count)]


def words(scope, stream, count):
    return [bits & 0xFFFFFFFF for bits in draws(scope, stream, count)]


def uniforms(scope, stream, count):
    return [(bits >> 40) / 2**24 for bits in draws(scope, stream, count)]


def randk(x, ratio):
    """Selection sampling: index i is taken with probability (left to take)/(left to see)."""
    n = len(x)
    left = k = max(1, int(ratio * n + 1e-9))
    decoded = numpy.zeros(n)
    for i, word in enumerate(words(CLIENT_SCOPE, 0, n)):
        if word * (n - i) // 2**32 < left:
            decoded[i] = x[i] * n / k
            left -= 1
    return decoded


def terngrad(x, clip):
    """Wen et al., equations 3 and 8."""
    s = abs(x).max()
    if clip:
        s = min(s, clip * x.std())
    b = numpy.array(uniforms(CLIENT_SCOPE, 0, len(x))) < abs(x) / s
    return s * numpy.sign(x) * b


def signs(x):
    """Karimireddy et al., scaled signs."""
    return numpy.linalg.norm(x, 1) / len(x) * numpy.where(x < 0, -1, 1)


def min_max(x, bits):
    step = (x.max() - x.min()) / (2**bits - 1)
    return x.min() + numpy.rint((x - x.min()) / step) * step


def symmetric(x, bits):
    step = abs(x).max() / (2 ** (bits - 1) - 1)
    return numpy.rint(x / step) * step


def hadamard(d):
    h = numpy.ones((1, 1))
    while len(h) < d:
        h = numpy.kron([[1, 1], [1, -1]], h)
    return h / numpy.sqrt(d)


def eden(x, bits, unbiased, rotations):
    """Vargaftik et al., Algorithm 1, with dense matrices."""
    d = max(8, 1 << (len(x) - 1).bit_length())
    rotation = numpy.eye(d)
    for stream in range(rotations):
        drawn = words(CLIENT_SCOPE, stream, d // 32 + 1)
        sign = numpy.array([-1.0 if drawn[i // 32] >> (i % 32) & 1 else 1.0 for i in range(d)])
        rotation = hadamard(d) @ numpy.diag(sign) @ rotation
    padded = numpy.concatenate([x, numpy.zeros(d - len(x))])
    rotated = rotation @ padded
    centroids = numpy.array([-c for c in CENTROIDS[bits]] + CENTROIDS[bits])
    wanted = rotated * numpy.sqrt(d) / numpy.linalg.norm(padded)
    c = centroids[abs(wanted[:, None] - centroids[None, :]).argmin(axis=1)]
    scale = padded @ padded / (rotated @ c) if unbiased else rotated @ c / (c @ c)
    return (rotation.T @ (scale * c))[: len(x)]


def count_sketch(x, ratio, rows, top):
    """Charikar et al.: the sketch as a matrix for each row, the median of the estimates, and the largest of them."""
    n = len(x)
    columns = max(1, int(ratio / rows * n + 1e-9))
    estimates = []
    for row in range(rows):
        matrix = numpy.zeros((columns, n))
        for i, word in enumerate(words(ROUND_SCOPE, row, n)):
            matrix[(word >> 1) * columns >> 31, i] = -1 if word & 1 else 1
        estimates.append(matrix.T @ (matrix @ x))
    decoded = numpy.median(estimates, axis=0)
    k = max(1, int(top * n + 1e-9))
    # Equal estimates are those of one column: rounding must not part them.
    order = sorted(range(n), key=lambda i: (-abs(numpy.float32(decoded[i])), i))
    decoded[order[k:]] = 0
    return decoded


def centred(x, axes):
    return x - x.mean(axis=axes, keepdims=True)


def main():
    rng = numpy.random.default_rng(11)

    def values(*shape):
        return (rng.standard_normal(shape) * 0.1).astype(numpy.float32).astype(numpy.float64)

    x = values(60)
    out = {"values": x.tolist(), "round": ROUND, "client": CLIENT}
    out["randk"] = [{"ratio": ratio, "decoded": randk(x, ratio).tolist()} for ratio in [0.1, 0.5]]
    out["terngrad"] = [{"clip": clip, "decoded": terngrad(x, clip).tolist()} for clip in [0.0, 1.5]]
    out["signsgd"] = [{"decoded": signs(x).tolist()}]
    out["quantize"] = [
        {"bits": bits, "range": name, "decoded": rule(x, bits).tolist()}
        for bits in [2, 5, 8]
        for name, rule in [("min-max", min_max), ("symmetric", symmetric)]
    ]
    out["eden"] = [
        {"bits": bits, "unbiased": unbiased, "rotations": rotations, "decoded": eden(x, bits, unbiased, rotations).tolist()}
        for bits in [1, 2, 3, 4]
        for unbiased in [True, False]
        for rotations in [1, 2]
    ]
    out["count-sketch"] = [
        {"ratio": ratio, "rows": rows, "top": top, "decoded": count_sketch(x, ratio, rows, top).tolist()}
        for ratio, rows, top in [(0.5, 1, 1.0), (0.5, 3, 1.0), (0.8, 4, 0.25)]
    ]
    matrix, kernel = values(5, 4) + 0.05, values(3, 2, 2, 2) + 0.05
    out["center"] = [
        {"of": of, "shape": list(t.shape), "given": t.ravel().tolist(), "decoded": centred(t, axes).ravel().tolist()}
        for of, t, axes in [
            ("output", matrix, 0), ("output", kernel, (1, 2, 3)), ("tensor", matrix, None), ("tensor", kernel, None),
        ]
    ]
    # binary16 by NumPy: ordinary values, subnormal ones, ties, and the borders of rounding.
    h = numpy.concatenate([
        values(40), values(20) * 1e-5, values(20) * 1e-7, values(10) * 1e5,
        [1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-25, 3 * 2.0**-26, 2.0**-14 - 2.0**-25, 65519.0, 2049.0, 2051.0, -0.0],
    ]).astype(numpy.float32)
    out["half"] = [{"given": h.tolist(), "codes": h.astype(numpy.float16).view(numpy.uint16).tolist()}]
    rounded = json.loads(json.dumps(out), parse_float=lambda text: float(f"{float(text):.9g}"))
    (HERE / "codecs.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
