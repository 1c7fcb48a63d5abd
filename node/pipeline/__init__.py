"""The use-cases, one per file: what happens to a study from receipt to delivery. No network and no tables here."""
