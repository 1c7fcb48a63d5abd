"""Training of every system from a folder of data: seeded, resumable, measured. ``train.main`` is the door."""
