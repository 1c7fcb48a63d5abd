"""How good a system is, said with intervals (specification section 9)."""
