"""First rows: an empty organization filled, generated opportunities, files of rows, named scenarios."""
