"""What ties the settings to the rooms: the parts of the composition root, which ``node.app`` puts together."""
