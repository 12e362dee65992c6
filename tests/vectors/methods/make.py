"""Methods in NumPy, from the pseudocode of their papers: writes clients.csv and a JSON file for each method.

    pip install numpy && python tests/vectors/methods/make.py

Independent of the host: float64 throughout, one loop per line of the pseudocode, nothing shared with the plugins. Four
clients whose data differ, softmax regression, full batches but for FedNova, whose clients take different numbers of steps;
the tests hold the real binary to the weights within 1e-5.
"""

import json
import pathlib

import numpy

HERE = pathlib.Path(__file__).parent
ROWS = [30, 20, 40, 25]  # training rows of the four clients
FEATURES, CLASSES = 3, 3
RATE, STEPS = 0.5, 4
EPOCHS, BATCH = 2, 10  # of FedNova: the rows of a client in this order, the last batch of an epoch is the rest
# As the host deals out a client's rows for partition seed 42; another order would show in FedNova's weights.
ORDERS = [
    [16, 25, 15, 26, 21, 17, 12, 27, 23, 29, 10, 14, 9, 5, 20, 0, 3, 11, 6, 7, 22, 8, 19, 13, 28, 18, 1, 4, 2, 24],
    [1, 2, 0, 8, 5, 11, 15, 14, 16, 18, 6, 3, 19, 13, 12, 9, 4, 17, 10, 7],
    [27, 20, 8, 14, 9, 18, 10, 0, 25, 30, 32, 34, 7, 16, 12, 39, 28, 17, 15, 37, 19, 1, 26, 24, 33, 29, 2, 38, 23,
     35, 21, 31, 13, 6, 5, 4, 22, 36, 11, 3],
    [16, 14, 19, 1, 12, 4, 24, 11, 6, 23, 9, 10, 17, 3, 0, 20, 2, 5, 21, 15, 7, 22, 13, 8, 18],
]
# The host's draw for run seed 42, two of four clients a round; the test asserts it before it compares weights.
COHORTS = [[2, 3], [2, 3], [0, 1], [0, 3], [1, 2]]


def rows():
    """(client, features, label): every client has its own centre and its own, bent, border between the classes."""
    for client, count in enumerate(ROWS):
        for i in range(count):
            centre = [0.5 * ((client * (j + 2)) % 4) - 0.75 for j in range(FEATURES)]
            x = [round(c + ((i * 37 + j * 101 + client * 53) % 97) / 48.5 - 1, 4) for j, c in enumerate(centre)]
            slope = 0.8 * x[0] - 0.6 * x[1] + 0.3 * x[2] * x[0] + 0.7 * client
            yield client, x, int(numpy.floor(1.3 * slope)) % CLASSES


def write_csv(data):
    """All rows for training, and the same as the clients' test rows, on which personal models are measured."""
    lines = ["client,split,label," + ",".join(f"x{j}" for j in range(FEATURES))]
    for split in ["train", "test"]:
        lines += [",".join([f"site{client}", split, str(label), *map(str, x)]) for client, x, label in data]
    (HERE / "clients.csv").write_text("\n".join(lines) + "\n")


def gradient(w, client):
    """Of the mean cross-entropy over all rows of the client. w: (features + 1) x classes, the last row is the bias."""
    x, y = client
    logits = x @ w
    p = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[numpy.arange(len(y)), y] -= 1
    return x.T @ p / len(y)


def accuracy(w, client):
    x, y = client
    return float((numpy.argmax(x @ w, axis=1) == y).mean())


def scaffold(x, clients, server_rate):
    """Karimireddy et al., Algorithm 1, option II."""
    n = len(clients)
    c = numpy.zeros_like(x)
    c_i = [numpy.zeros_like(x) for _ in clients]
    for cohort in COHORTS:
        delta_y, delta_c = [], []
        for i in cohort:
            y = x.copy()
            for _ in range(STEPS):
                y = y - RATE * (gradient(y, clients[i]) - c_i[i] + c)
            plus = c_i[i] - c + (x - y) / (STEPS * RATE)
            delta_y.append(y - x)
            delta_c.append(plus - c_i[i])
            c_i[i] = plus
        x = x + server_rate * sum(delta_y) / len(cohort)
        c = c + len(cohort) / n * sum(delta_c) / len(cohort)
        yield x


def ditto(w, clients, lam, personal_steps):
    """Li et al., Algorithm 1. A personal model starts from the weights that its client first receives."""
    v = {}
    for cohort in COHORTS:
        deltas = []
        for k in cohort:
            w_k = w.copy()
            for _ in range(STEPS):
                w_k = w_k - RATE * gradient(w_k, clients[k])
            own = v.get(k, w).copy()
            for _ in range(personal_steps):
                own = own - RATE * (gradient(own, clients[k]) + lam * (own - w))
            v[k] = own
            deltas.append(w_k - w)
        w = w + sum(deltas) / len(cohort)
        yield w, dict(v)


def fednova(w, clients, uniform):
    """Wang et al., equation 8, with a_i = (1, .., 1): vanilla SGD without momentum."""
    for cohort in COHORTS:
        n = [1 if uniform else len(clients[i][1]) for i in cohort]
        p = [count / sum(n) for count in n]
        d, tau = [], []
        for i in cohort:
            x, y = (part[ORDERS[i]] for part in clients[i])
            w_i, steps = w.copy(), 0
            for _ in range(EPOCHS):
                for first in range(0, len(y), BATCH):
                    w_i = w_i - RATE * gradient(w_i, (x[first:first + BATCH], y[first:first + BATCH]))
                    steps += 1
            d.append((w - w_i) / (RATE * steps))  # the normalised gradient
            tau.append(steps)
        tau_eff = sum(p_i * tau_i for p_i, tau_i in zip(p, tau))
        w = w - tau_eff * sum(p_i * RATE * d_i for p_i, d_i in zip(p, d))
        yield w


def feddyn(theta, clients, alpha):
    """Acar et al., Algorithm 1, each argmin replaced by STEPS steps of gradient descent."""
    m = len(clients)
    h = numpy.zeros_like(theta)
    last_gradient = [numpy.zeros_like(theta) for _ in clients]
    for cohort in COHORTS:
        models = []
        for k in cohort:
            theta_k = theta.copy()
            for _ in range(STEPS):
                theta_k = theta_k - RATE * (gradient(theta_k, clients[k]) - last_gradient[k] + alpha * (theta_k - theta))
            last_gradient[k] = last_gradient[k] - alpha * (theta_k - theta)
            models.append(theta_k)
        h = h - alpha / m * sum(theta_k - theta for theta_k in models)
        theta = sum(models) / len(cohort) - h / alpha
        yield theta


def fedexp(w, clients, epsilon):
    """Jhunjhunwala et al., Algorithm 1. Also gives the server's steps."""
    for cohort in COHORTS:
        deltas = []
        for i in cohort:
            w_i = w.copy()
            for _ in range(STEPS):
                w_i = w_i - RATE * gradient(w_i, clients[i])
            deltas.append(w - w_i)
        mean = sum(deltas) / len(cohort)
        squares = sum(numpy.sum(delta**2) for delta in deltas)
        step = max(1.0, squares / (2 * len(cohort) * (numpy.sum(mean**2) + epsilon)))
        w = w - step * mean
        yield w, float(step)


def powersgd(matrices, q):
    """Vogels et al., Algorithm 1, with one worker: a compression of each matrix, warm-started from the last q."""
    for m in matrices:
        p = m @ q
        p, _ = numpy.linalg.qr(p)  # the same projection as Gram-Schmidt's, up to the columns' signs
        q = m.T @ p
        yield p @ q.T


def flat(w):
    """The host's order: the matrix [inputs, outputs] row by row, then the bias."""
    return w.ravel().tolist()


def main():
    data = list(rows())
    write_csv(data)
    clients = []
    for client in range(len(ROWS)):
        own = [(x, label) for k, x, label in data if k == client]
        x = numpy.array([[*x, 1.0] for x, _ in own])
        clients.append((x, numpy.array([label for _, label in own])))
    start = numpy.array([[0.1 * ((i * 5 + j * 3) % 7) - 0.3 for j in range(CLASSES)] for i in range(FEATURES + 1)])
    common = {"rate": RATE, "steps": STEPS, "cohorts": COHORTS, "initial": flat(start)}

    cases = [{"server_rate": rate, "weights": [flat(x) for x in scaffold(start, clients, rate)]} for rate in [1.0, 0.7]]
    write("scaffold", {**common, "cases": cases})

    cases = []
    for lam, personal_steps in [(0.0, STEPS), (0.3, STEPS), (1.5, STEPS)]:
        states = list(ditto(start, clients, lam, personal_steps))
        final = [accuracy(own, clients[k]) for k, own in sorted(states[-1][1].items())]
        common_model = [accuracy(states[-1][0], client) for client in clients]
        cases.append({
            "lambda": lam,
            "weights": [flat(w) for w, _ in states],
            "personal_accuracy": final,
            "common_accuracy": common_model,
        })
    write("ditto", {**common, "cases": cases})

    cases = [{"weighting": name, "weights": [flat(w) for w in fednova(start, clients, name == "uniform")]}
             for name in ["num-examples", "uniform"]]
    batches = {"rate": RATE, "epochs": EPOCHS, "batch": BATCH, "cohorts": COHORTS, "initial": flat(start)}
    write("fednova", {**batches, "cases": cases})

    cases = [{"alpha": alpha, "weights": [flat(x) for x in feddyn(start, clients, alpha)]} for alpha in [0.3, 1.0]]
    write("feddyn", {**common, "cases": cases})

    cases = []
    for epsilon in [0.001, 0.02]:
        states = list(fedexp(start, clients, epsilon))
        weights, steps = zip(*states)
        assert max(steps) > 1.1, "some step must be longer than FedAvg's"
        cases.append({"epsilon": epsilon, "weights": [flat(w) for w in weights], "server_steps": steps})
    write("fedexp", {**common, "cases": cases})

    rng = numpy.random.default_rng(7)
    cases = []
    for n, m, rank in [(6, 10, 1), (12, 7, 2)]:
        base = rng.standard_normal((n, m)).astype(numpy.float32)
        matrices = [base + 0.2 * rng.standard_normal((n, m)).astype(numpy.float32) for _ in range(3)]
        q = rng.standard_normal((m, rank)).astype(numpy.float32)
        decoded = powersgd([x.astype(numpy.float64) for x in matrices], q.astype(numpy.float64))
        cases.append({
            "shape": [n, m],
            "rank": rank,
            # Column by column, as the plugin keeps it.
            "q": q.T.ravel().tolist(),
            "matrices": [x.ravel().tolist() for x in matrices],
            "decoded": [x.ravel().tolist() for x in decoded],
        })
    write("powersgd", {"cases": cases})


def write(name, value):
    rounded = json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.9g}"))
    (HERE / f"{name}.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
