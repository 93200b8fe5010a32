"""Tables of runs of a known law, in every layout that the reader takes."""

import csv
import gzip
import io
import json

import numpy as np

E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28  # Hoffmann et al. 2022
POWER = BETA / (ALPHA + BETA)


def loss_of(n, d):
    return E + A * n**-ALPHA + B * d**-BETA


def best_size(flops):
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** POWER


def isoflop_rows(noise=0.001, sizes=7, budgets=5, seed=0):
    """Runs around the best size at each budget: they carry approaches 3, 3' and 2."""
    rng, rows = np.random.default_rng(seed), []
    for flops in np.geomspace(1e18, 1e21, budgets):
        for n in best_size(flops) * np.geomspace(1 / 3, 3, sizes):
            loss = loss_of(n, flops / (6 * n)) * np.exp(noise * rng.normal())
            rows.append({"Model Size": n, "Training FLOP": flops, "loss": loss})
    return rows


def curve_rows(sizes=12, points=20):
    """Training curves, each read at several amounts of compute."""
    return [
        {"run": f"size {i}", "params": n, "flops": c, "val_loss": loss_of(n, c / (6 * n))}
        for i, n in enumerate(np.geomspace(5e7, 2e10, sizes))
        for c in np.geomspace(1e17, 1e22, points)
    ]


def csv_text(rows, delimiter=","):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write(path, rows):
    """The rows in the layout of the file's ending."""
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        text = csv_text(rows, "\t" if name.endswith(".tsv") else ",")
    elif name.endswith(".json"):
        text = json.dumps(rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
