"""Writes the byte vectors of ABI 1 from the postcard specification and the table in docs/abi.md, not from our code.

python3 tests/vectors/abi/make.py        (standard library only; the output is committed)
"""

import json
import pathlib
import struct


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def string(text):
    data = text.encode()
    return varint(len(data)) + data


# One function per variant; the position in this list is the variant's number on the wire.
ENCODERS = [
    ("Bool", lambda v: bytes([v])),
    ("I64", lambda v: varint((v << 1 ^ v >> 63) & 0xFFFF_FFFF_FFFF_FFFF)),
    ("F64", lambda v: struct.pack("<d", v)),
    ("Str", string),
    ("Bytes", lambda v: varint(len(v)) + bytes(v)),
    ("List", lambda v: varint(len(v)) + b"".join(value(*item) for item in v)),
    ("Map", lambda v: entries(v)),
    ("F64s", lambda v: varint(len(v)) + b"".join(struct.pack("<d", x) for x in v)),
    ("F32s", lambda v: varint(len(v)) + b"".join(struct.pack("<f", x) for x in v)),
]


def value(kind, content):
    for number, (name, encode) in enumerate(ENCODERS):
        if name == kind:
            return varint(number) + encode(content)
    raise ValueError(kind)


def entries(pairs):
    return varint(len(pairs)) + b"".join(string(name) + value(*item) for name, item in pairs)


MAPS = {
    "empty": [],
    "bool": [("on", ("Bool", True)), ("off", ("Bool", False))],
    "i64": [
        ("zero", ("I64", 0)),
        ("minus-one", ("I64", -1)),
        ("one", ("I64", 1)),
        ("64", ("I64", 64)),
        ("largest", ("I64", 2**63 - 1)),
        ("smallest", ("I64", -(2**63))),
    ],
    "f64": [("half", ("F64", 0.5)), ("third", ("F64", 1 / 3)), ("minus-zero", ("F64", -0.0)), ("inf", ("F64", float("inf")))],
    "str": [("", ("Str", "")), ("µ", ("Str", "Δ = Σ nₖ·Δₖ")), ("long", ("Str", "x" * 200))],
    "bytes": [("b", ("Bytes", [0, 1, 127, 128, 255]))],
    "list": [("l", ("List", [("I64", 3), ("Str", "three"), ("List", [])]))],
    "map": [("m", ("Map", [("inner", ("Map", [])), ("x", ("F64", 2.0))]))],
    "arrays": [("doubles", ("F64s", [1.0, -2.5])), ("floats", ("F32s", [1.0, -2.5, 0.1])), ("none", ("F32s", []))],
    "plan": [
        (
            "phases",
            (
                "List",
                [
                    (
                        "Map",
                        [
                            (
                                "terms",
                                (
                                    "List",
                                    [
                                        ("Map", [("term", ("Str", "prox")), ("mu", ("F64", 0.01))]),
                                        ("Map", [("term", ("Str", "clip-grad")), ("max_norm", ("F64", 10.0))]),
                                    ],
                                ),
                            )
                        ],
                    )
                ],
            ),
        )
    ],
    "scan-plan": [("measures", ("List", [("Str", "norm2"), ("Str", "kth_abs")])), ("k", ("I64", 1000))],
}

# Field, bytes (0: a pointer), value. In this order, without padding.
BLOCK = [
    ("size", 4, None),
    ("flags", 4, 0),
    ("offset", 8, 0x0102_0304_0506_0708),
    ("vector", 4, 0x1111_1111),
    ("unit", 4, 0x1212_1212),
    ("n", 4, 0x1313_1313),
    ("k", 4, 0x1414_1414),
    ("rows", 0, 0xA1),
    ("weights", 0, 0xA2),
    ("table", 0, 0xA3),
    ("base", 0, 0xA4),
    ("states", 0, 0xA5),
    ("out", 0, 0xA6),
    ("rows_out", 0, 0xA7),
    ("mix_out", 0, 0xA8),
    ("input", 0, 0xA9),
    ("output", 0, 0xAA),
    ("table_len", 4, 0x2121_2121),
    ("n_states", 4, 0x2222_2222),
    ("n_rows_out", 4, 0x2323_2323),
    ("mix_len", 4, 0x2424_2424),
    ("input_len", 4, 0x2525_2525),
    ("output_cap", 4, 0x2626_2626),
    ("output_len", 4, 0x2727_2727),
    ("state_n", 4, 0x28282828),
]


def block(pointer_bytes):
    size = sum(width or pointer_bytes for _, width, _ in BLOCK)
    fields, data = {}, b""
    for name, width, number in BLOCK:
        width = width or pointer_bytes
        fields[name] = len(data)
        data += (size if number is None else number).to_bytes(width, "little")
    return {"size": size, "offsets": fields, "hex": data.hex()}


def main():
    here = pathlib.Path(__file__).parent
    maps = {name: entries(pairs).hex() for name, pairs in MAPS.items()}
    blocks = {"block32": block(4), "block64": block(8)}
    for name, content in [("maps", maps), ("blocks", blocks)]:
        (here / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
