"""The vocabulary of the node: settings, errors, states, log events. Pure: imports no other room."""
