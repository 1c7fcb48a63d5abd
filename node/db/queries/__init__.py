"""Queries on stored results: what may be asked, pages of it, counts and means, and SQL views of the same."""
