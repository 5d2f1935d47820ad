"""What the commands of bulk jobs are made of: where rows come from, the run, and what a person sees."""
