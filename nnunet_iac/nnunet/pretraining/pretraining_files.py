"""The files of a pretraining; what a killed run needs is in the first, all others follow from it."""

STATE, CURVE, RESULT, CHECKPOINT, PICTURE = (
    "pretraining_state.pt",
    "pretraining.jsonl",
    "pretraining.json",
    "checkpoint_pretrained.pth",
    "pretraining.png",
)

FILES = (STATE, CHECKPOINT, RESULT, CURVE, PICTURE)
"""In the order in which they are removed: the state first, so that a new run does not mix with an old one."""
