"""What is each part of the start and of the first targets worth? Sets by part by seed.

A part is left out, all else stays: the moves that merge two clusters and split a third, the cuts of
the graph of neighbours among the candidates, and the lead that the start's clusters have in the
first targets. Pretrainings are shared with zoo.py, of which this takes sets, seeds and cache. Each
finished fit is a line in results/ablation.jsonl and is not fitted again.

Labels score what is finished. USPS and the artists N to Z take no part: what is kept is decided
here.
"""

import argparse
import contextlib
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from _common import (
    HERE,
    append_line,
    is_done,
    params_that_matter,
    print_table,
    read_lines,
    settings_of,
)
from sklearn.metrics import normalized_mutual_info_score
from zoo import make, read

RESULTS = HERE / "results" / "ablation.jsonl"
SETS = ("orl", "greek", "digits", "letters", "coil20", "fashion")
STARTS = "skdcec._clusterers.starts"
PARTS = {
    "all": (),
    "no moves": ((f"{STARTS}.rearranged", lambda points, labels, neighbors, seed: labels),),
    "no cuts": ((f"{STARTS}.cuts", lambda neighbors, n_clusters, seed: []),),
    "no lead": (("skdcec._nn.callbacks._WARM_UP_SHARE", 0.0),),
}
# The lead is of the targets; the others are of the start, too.
OF_THE_START = ("all", "no moves", "no cuts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.sets:
        X, y = read(name, options.data)
        for seed in options.seeds:
            for part in PARTS:
                for method in ("auto, no joint phase", "auto"):
                    if method == "auto" or part in OF_THE_START:
                        measure(name, part, method, seed, X, y, options.threads)
    report(read_lines(RESULTS))


def measure(name, part, method, seed, X, y, threads):
    """Fit without a part, unless that was done."""
    model = make(method, X, len(set(y)), seed, None)
    known = {"params": params_that_matter(model), "threads": threads, "n": len(X)}
    key = {"set": name, "part": part, "method": method, "seed": seed}
    key["settings"] = settings_of(known)
    if is_done(key, read_lines(RESULTS)):
        return
    with contextlib.ExitStack() as stack:
        for target, value in PARTS[part]:
            stack.enter_context(patch(target, value))
        labels = model.fit_predict(X)
    nmi = normalized_mutual_info_score(y, labels)
    append_line(RESULTS, {**key, "nmi": nmi, "refined": model.refined_})
    print(f"{name}, {part}, {method}, seed {seed}: NMI {nmi:.3f}", flush=True)


def report(lines):
    """Print the mean NMI of start and result, for each set and part left out."""
    found = defaultdict(dict)
    for line in lines:
        found[line["set"], line["part"], line["method"]][line["seed"]] = line["nmi"]
    rows = []
    for name in SETS:
        row = [name]
        for part in PARTS:
            values = [
                list(found[name, part, method].values())
                for method in ("auto, no joint phase", "auto")
            ]
            row.append(" / ".join(f"{np.mean(v):.3f} ({len(v)})" if v else "-" for v in values))
        rows.append(row)
    print_table(["start / result", *PARTS], rows)


if __name__ == "__main__":
    main()
