"""Images, masks and predictions of cases, and the batches that are drawn from them."""
