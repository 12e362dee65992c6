"""Accuracy at each of the four hospitals, of runs of heart-disease.toml: means over the runs, with standard deviations.

    python3 examples/papers/hospitals.py RUN...

A run records the mean over the hospitals; this script reads the final weights and computes each hospital's own accuracy,
with nothing but Python's standard library. It ends with an error if the two disagree.
"""

import csv
import json
import pathlib
import statistics
import struct
import sys

HOSPITALS = ["cleveland", "hungarian", "switzerland", "va"]
NUMBERS = ["age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak"]
CATEGORIES = [("cp", 2), ("cp", 3), ("cp", 4), ("restecg", 1), ("restecg", 2)]
ROWS = pathlib.Path(__file__).parents[2] / "host/data/heart_disease.csv"


def inputs(row):
    """FLamby's 13 inputs of a patient."""
    return [float(row[name]) for name in NUMBERS] + [float(float(row[name]) == value) for name, value in CATEGORIES]


def test_set(hospital):
    """The hospital's test patients, standardised by its training patients, each with whether she is sick."""
    with open(ROWS, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["center"] == hospital]
    columns = list(zip(*(inputs(row) for row in rows if row["split"] == "train")))
    scales = [(statistics.fmean(column), statistics.stdev(column) + 1e-9) for column in columns]
    standardised = lambda row: [(value - mean) / sd for value, (mean, sd) in zip(inputs(row), scales)]
    return [(standardised(row), float(row["label"]) == 1) for row in rows if row["split"] == "test"]


def weights(run):
    """The 13 weights and the bias of the final model."""
    content = (run / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    tensors = json.loads(content[8 : 8 + length])
    tensors.pop("__metadata__", None)
    by_size = {}
    for tensor in tensors.values():
        begin, end = tensor["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f", content[8 + length + begin : 8 + length + end])
        by_size[len(values)] = values
    return by_size[13], by_size[1][0]


def accuracies(run, tests):
    factors, bias = weights(run)
    hit = lambda patient, sick: (sum(f * x for f, x in zip(factors, patient)) + bias > 0) == sick
    found = [statistics.fmean(hit(*one) for one in test) for test in tests]
    recorded = json.loads((run / "summary.json").read_text())["final"]["client_accuracy"]["mean"]
    if abs(statistics.fmean(found) - recorded) > 1e-9:
        sys.exit(f"{run}: the mean of {found} is not the recorded {recorded}")
    return found


def main():
    runs = [pathlib.Path(run) for run in sys.argv[1:]]
    if not runs:
        sys.exit(__doc__)
    tests = [test_set(hospital) for hospital in HOSPITALS]
    for hospital, values in zip(HOSPITALS, zip(*(accuracies(run, tests) for run in runs))):
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{hospital:12} {statistics.fmean(values):.3f} ± {sd:.3f}  {len(values)} runs")


main()
