"""The default settings, `node.toml`, and the rules of selection, `selection.toml`. A package so that they are installed."""
