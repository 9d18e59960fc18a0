"""Publishing: levels, overview, attributes, STAC item, COG, picture and report, all made from the shards."""
