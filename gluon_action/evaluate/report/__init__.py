"""What a run shows: one page of HTML that needs nothing beside it, and the comparison of several runs."""
