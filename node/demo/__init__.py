"""The demonstration: a film drawn by code, a stand-in PACS, and the main path shown from end to end."""
