"""The HTTP API over stored results, ``/api/v1``: pages, counts and means, readers' verdicts, and its OpenAPI."""
