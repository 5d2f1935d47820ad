"""One organization as it is opened, filled, counted and put back; its options and its clock."""
