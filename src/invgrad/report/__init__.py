"""Tables, charts, image grids, and the report."""
