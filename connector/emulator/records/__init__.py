"""The rows: the shape of the organization, the SQLite file, who may touch what, values checked and converted."""
