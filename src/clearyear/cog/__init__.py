"""GeoTIFFs and COGs as bytes: what a layer's files are like, blocks, overviews, and a mosaic of tiles put together."""
