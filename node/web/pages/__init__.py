"""The pages people use: drawn on the server, complete without a script, quick to read and to reach by keyboard."""
