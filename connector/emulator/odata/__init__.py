"""What a query says: paths and options cut into tokens, read into trees, turned into SQL."""
