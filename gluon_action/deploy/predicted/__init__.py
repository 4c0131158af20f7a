"""What predictions leave: overlays, timelines, tables, and the jobs that make them."""
