"""The demo: a cardiac phantom, its steps, and a runner that goes on where it stopped."""
