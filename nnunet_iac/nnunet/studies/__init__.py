"""Many trainings of one budget: their plans, their processes, the commands of the published matrix."""
