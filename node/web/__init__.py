"""The node over HTTP: health and metrics today; DICOMweb, queries and pages have their places beside them."""
