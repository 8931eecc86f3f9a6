"""Statistics of segmentations: metrics of a case, values of a patient, paired comparisons of arms."""
