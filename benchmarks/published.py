"""Score the peers' own published synthetic tables of Adult, and a real holdout, with the same scorer."""

import common

NAMES = {
    "test": "real holdout",
    "ctgan_tvae": "TVAE (CTGAN 0.12.1)",
    "stasy_1": "STaSy",
    "tabmt_0": "TabMT",
    "tabularargn_1": "TabularARGN (1)",
    "tabularargn_2": "TabularARGN (2)",
    "tabularargn_dp_1": "TabularARGN, differentially private",
    "tabsyn_1": "TabSyn (1)",
    "tabsyn_2": "TabSyn (2)",
}


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--only", default=",".join(NAMES), type=lambda text: text.split(","))
    args = options.parse_args()
    where = common.machine()
    folder = ("data", "adult_split")
    train = common.shared_file(args, *folder, "train.parquet")
    test = common.shared_file(args, *folder, "test.parquet")
    figures = {}
    for key in args.only:
        table = test if key == "test" else common.shared_file(args, *folder, "peers", f"{key}.parquet")
        scores = common.score(args, train, test, table, [], "income")
        if key == "test":
            scores["tstr"] = scores["trtr"]  # training on the test rows themselves would say nothing
        figures[key] = {"label": NAMES[key], **{k: scores[k] for k in common.SCORES}}
        common.note(f"{NAMES[key]}: {figures[key]}")
    rows = [[f["label"], *(f"{f[s]:.3f}" for s in common.SCORES)] for f in figures.values()]
    print(common.table(["table", *common.SCORES], rows))
    common.write_result(args, where, figures)


if __name__ == "__main__":
    main()
