"""What each command of ``lungnode`` does; ``node.cli`` parses and calls them."""
