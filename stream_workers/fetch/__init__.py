"""Tasks to records: limit, download, verify, select, publish."""
