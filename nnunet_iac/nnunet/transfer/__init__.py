"""A search that starts from another one: its source, several data sets, and the trainers."""
