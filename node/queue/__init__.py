"""Who runs what and when: periodic duties, worker processes, the worker's loop. The ledger itself is ``db.jobs``."""
