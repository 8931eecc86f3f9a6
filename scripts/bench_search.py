"""Wall-clock and Dice of short and pruned searches against the full one: 200 epochs, nothing pruned, one run for all.

    python scripts/bench_search.py -d 4 -c 2d --host trained --seeds 0 1 2 --json search.json

All options are those of ``bench_dice.py`` (``--help`` tells them); unless ``--arms`` says otherwise, its arms are those
that search, with random cells and none as controls. Printed: how many times cheaper each search was, and whether its
retrained cells are worse than those of the full search.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import bench_dice

ARMS = ("identity", "random", "full search", "pruned search", "short search")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the arms that search, and their controls; the status is that of ``bench_dice.py``."""
    words = list(sys.argv[1:] if argv is None else argv)
    # First, because argparse takes the last of two --arms.
    return bench_dice.main(["--arms", *ARMS, *words])


if __name__ == "__main__":
    sys.exit(main())
