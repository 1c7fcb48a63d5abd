"""The only room that knows tables. Functions take a ``Session`` and never commit; the caller owns the transaction."""
