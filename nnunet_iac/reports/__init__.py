"""Reports read artefacts from disk only; every plot is a ``..._data`` function and a ``draw_...`` function."""
