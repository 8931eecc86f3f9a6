"""Search: Jensen-Shannon stability pruning (IAC-LTH) of a first-order bilevel PC-DARTS search."""
