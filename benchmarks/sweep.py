"""The cost of a search over the number of clusters, with and without `memory`.

`GridSearchCV` fits four numbers of clusters and the best one again. The pretraining does not depend
on that number, so with `memory` it runs once. Counted are the pretrainings that really took place,
in whichever process.
"""

import argparse
import tempfile
import time
from pathlib import Path

from _common import CountFits, print_table, write_results
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec.model_selection import TransductiveSplit, silhouette_scorer


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    images = load_digits().images
    encoder_params, params = {}, {}
    if args.quick:
        images = images[:200]
        encoder_params, params = {"max_epochs": 2}, {"max_epochs": 1}

    with tempfile.TemporaryDirectory() as folder:
        counter = Path(folder, "pretrainings")

        def model(memory=None):
            return DeepConvEmbeddingClustering(
                n_clusters=10,
                encoder=ConvAutoencoder(callbacks=[CountFits(str(counter))], **encoder_params),
                memory=memory,
                random_state=0,
                **params,
            )

        def search(memory=None, n_jobs=None, cv=None):
            return GridSearchCV(
                model(memory and str(Path(folder, memory))),
                {"n_clusters": [8, 9, 10, 11]},
                scoring=silhouette_scorer,
                cv=cv or TransductiveSplit(),
                n_jobs=n_jobs,
                error_score="raise",
            )

        runs = {
            "one fit": model(),
            "search without memory": search(),
            "search, cold memory": search("a"),
            "search, warm memory": search("a"),
            "search, cold memory, n_jobs=2": search("b", n_jobs=2),
            "3-fold search, cold memory": search("c", cv=KFold(3)),
        }
        results = {}
        for name, estimator in runs.items():
            counter.write_text("")
            start = time.perf_counter()
            estimator.fit(images)
            results[name] = {
                "seconds": time.perf_counter() - start,
                "pretrainings": len(counter.read_text()),
            }
            print(f"{name}: done", flush=True)

    one = results["one fit"]["seconds"]
    print()
    print_table(
        [f"{len(images)} digits, 4 numbers of clusters", "pretrainings", "seconds", "one fit = 1"],
        [
            [name, r["pretrainings"], r["seconds"], r["seconds"] / one]
            for name, r in results.items()
        ],
    )
    write_results("sweep", {"images": len(images), "results": results}, quick=args.quick)


if __name__ == "__main__":
    main()
