"""For tests and people: the control interface, the journal, the referee and the page."""
