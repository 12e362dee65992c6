"""MNIST as a CSV file whose clients are FedLab's `hetero_dir` split, by Dirichlet 0.5 over 100 clients.

    python3 examples/papers/fedlab_split.py FOLDER SEED [--unbalanced] > mnist.csv

FOLDER holds MNIST's four IDX files (.gz). A class goes only to clients that hold fewer than 600 rows so far; with
`--unbalanced` to all of them, which is Flower's split. Pixels are divided by 255. It needs NumPy.
"""

import gzip
import pathlib
import sys

import numpy as np

CLIENTS, ALPHA, LEAST = 100, 0.5, 10


def idx(folder, name, header):
    return np.frombuffer(gzip.open(folder / f"{name}.gz").read(), np.uint8)[header:]


def images(folder, part):
    pixels = idx(folder, f"{part}-images-idx3-ubyte", 16)
    return pixels.reshape(-1, 784), idx(folder, f"{part}-labels-idx1-ubyte", 8)


def split(labels, generator, balanced):
    """Each client's rows, drawn again until everyone has `LEAST`."""
    while True:
        clients = [[] for _ in range(CLIENTS)]
        for label in range(10):
            rows = np.where(labels == label)[0]
            generator.shuffle(rows)
            shares = generator.dirichlet([ALPHA] * CLIENTS)
            if balanced:
                shares = shares * [len(held) < len(labels) / CLIENTS for held in clients]
                shares = shares / shares.sum()
            cuts = (np.cumsum(shares) * len(rows)).astype(int)[:-1]
            clients = [held + new.tolist() for held, new in zip(clients, np.split(rows, cuts))]
        if min(map(len, clients)) >= LEAST:
            return clients


def main(folder, seed, *options):
    folder = pathlib.Path(folder)
    pixels, labels = images(folder, "train")
    clients = split(labels, np.random.default_rng(int(seed)), options != ("--unbalanced",))
    client = np.zeros(len(labels), int)
    for number, rows in enumerate(clients):
        client[rows] = number
    scaled = [f"{np.float32(value) / np.float32(255):.9g}" for value in range(256)]
    print(*(f"p{i}" for i in range(784)), "label", "split", "client", sep=",")
    for row, label, number in zip(pixels, labels, client):
        print(*(scaled[value] for value in row), label, "train", number, sep=",")
    for number, (row, label) in enumerate(zip(*images(folder, "t10k"))):
        print(*(scaled[value] for value in row), label, "test", number % CLIENTS, sep=",")


main(*sys.argv[1:])
