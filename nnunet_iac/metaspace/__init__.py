"""The meta-space: data sets and sub-networks as points of one space, learned from how well they go together."""
