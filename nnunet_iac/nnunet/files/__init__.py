"""What lies on disk: plans, settings, data set description, folds, weights, and the folder of a model."""
