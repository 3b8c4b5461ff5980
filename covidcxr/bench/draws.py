"""How many random transforms of an image a bank of frozen features needs: ``python -m covidcxr.bench.draws``.

Trains nemati2022's head under the sound protocol, once with each number of draws and once with as many as epochs,
which is the stock procedure. What is chosen by are the validation patients; the tested ones are compared after.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np
import pandas as pd

DRAWS = (1, 2, 4, 8, 16)
_RESAMPLES = 2000


def main(arguments=None):
    """Train, print a table in Markdown, return the exit code."""
    args = _parser().parse_args(arguments)
    predictions = {draws: _predictions(args, draws) for draws in ("all", *args.draws)}
    rows = [_row(draws, predictions) for draws in predictions]
    for cells in (list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)):
        print(f"| {' | '.join(map(str, cells))} |")
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m covidcxr.bench.draws", description=__doc__)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with real images")
    parser.add_argument("--weights", default="imagenet", metavar="imagenet|DIR")
    parser.add_argument("--model", default="mobilenetv2", help="network of nemati2022")
    parser.add_argument("--side", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--fold", default="1,2,3,4,5", metavar="N,N[,N]", help="two or more")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--draws", type=int, nargs="+", default=list(DRAWS))
    parser.add_argument("--out", required=True, metavar="DIR")
    return parser


def _predictions(args, draws):
    """Return the held-out images' predictions of all folds and seeds."""
    from covidcxr.papers import nemati2022
    from covidcxr.papers.running.runner import Paper

    network = replace(nemati2022.NETWORKS[args.model], input_size=(args.side, args.side))
    paper = Paper(replace(nemati2022.RECIPE, networks={args.model: network}))
    tables = []
    for seed in args.seeds:
        study = paper.run(
            data=args.data,
            weights=args.weights,
            model=args.model,
            protocol="sound",
            fold=args.fold,
            draws=str(draws),
            seed=seed,
            out=f"{args.out}/draws-{draws}-seed{seed}",
            overwrite=True,
        )
        tables.append(study.predictions.assign(seed=seed))
    return pd.concat(tables, ignore_index=True)


def _row(draws, predictions):
    stock, mine = predictions["all"], predictions[draws]
    validated, tested = (mine[mine["split"] == split] for split in ("val", "test"))
    low, difference, high = _difference(tested, stock[stock["split"] == "test"])
    return {
        "draws": draws,
        "validation loss": round(_loss(validated), 4),
        "validation accuracy": f"{100 * _right(validated).mean():.2f} %",
        "test accuracy": f"{100 * _right(tested).mean():.2f} %",
        "less all draws": f"{100 * difference:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]",
    }


def _difference(mine, stock):
    """Return the difference of two accuracies on the same images: 95 % of 2,000 resamples of the patients."""
    key = ["seed", "name", "path"]
    paired = mine.assign(right=_right(mine)).merge(
        stock.assign(right=_right(stock)), on=key, suffixes=("", "_stock")
    )
    paired["gain"] = paired["right"].astype(int) - paired["right_stock"].astype(int)
    # Where the source names no patient, each image is one.
    patients = paired["patient_id"].fillna(paired["path"])
    sums = paired.groupby(patients)["gain"].agg(["sum", "size"]).to_numpy()
    generator = np.random.default_rng(0)
    chosen = generator.integers(0, len(sums), (_RESAMPLES, len(sums)))
    totals = sums[chosen].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
    return low, paired["gain"].mean(), high


def _right(table):
    return table["predicted"] == table["label"]


def _loss(table):
    own = [row[f"prob_{row['label']}"] for row in table.to_dict("records")]
    return float(-np.log(np.maximum(own, 1e-7)).mean())


if __name__ == "__main__":
    sys.exit(main())
