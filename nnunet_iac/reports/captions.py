"""What to see in each picture of a search."""

COURSE = (
    "Operations still active (dotted: one for each edge), wall-clock and losses of each epoch. "
    "A pruned operation is not executed any more."
)
SEARCH_DICE = (
    " Dice is that of the network as it stood after the epoch (mixtures of operations, not the found cells), on the "
    "same patches of the fold's validation cases each time; the search itself never saw them."
)
PRUNING = "The epoch at which each operation was pruned; a dot is an operation that is still active."
LAST_EPOCH = (
    "Probabilities of operations at the last recorded epoch (a point: pruned), and the weight of each edge among those "
    "that enter the same node. Frames mark what the genotype took."
)
PROBABILITIES = (
    "Probability of each operation over epochs, one panel an edge; rows are what the edge reads, columns the node that "
    "it enters. The strongest operation at the end is named in each panel. 0.125 is undecided between all eight."
)
DIVERGENCE = (
    "Stability of each edge: Jensen-Shannon divergence between its probabilities now and a window ago, on a "
    "logarithmic axis from 1 (nothing in common) down; values below 1e-7 are drawn at 1e-7."
)
