"""Statistics of polygons over a raster: who they are, what is in them, tables and pictures of it."""
