"""GeoTIFFs of every kind → COGs and full-size JPEGs that are proven to be what came in.

files.py      bytes from anywhere: fetched in one version, hashed, read back after they were published
raster.py     one GeoTIFF as a COG, and whether pixels, masks, nodata and georeference are all there
picture.py    the JPEG: which bands are shown, palettes, the stretch of what is not 8-bit
image.py      one image, end to end, and the record that makes its outputs count
rows.py       lists of images: a CSV, a folder, one file
watch.py      CSVs whose names say what becomes of them; two watchers never take the same one
"""
