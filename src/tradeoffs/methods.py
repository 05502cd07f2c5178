"""The registry of alignment methods: light, so that parameters can name what they accept before anything heavy is loaded."""

# name -> module with `train(parameters, folder) -> dict`; a new method is a file and a line here
METHODS: dict[str, str] = {
    "sft": "tradeoffs.alignment.sft",
    "ppo": "tradeoffs.alignment.ppo",
    "rloo": "tradeoffs.alignment.rloo",
    "dpo": "tradeoffs.alignment.dpo",
    "rsft": "tradeoffs.alignment.rsft",
    "rlvr": "tradeoffs.alignment.rlvr",
    "rrhf": "tradeoffs.alignment.rrhf",
    "scalarization": "tradeoffs.alignment.scalarization",
    "dpa": "tradeoffs.alignment.dpa",
}
