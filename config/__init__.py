"""The default settings, `node.toml`. A package only so that an installed lungnode finds them."""
