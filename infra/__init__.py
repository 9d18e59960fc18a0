"""Files of deployments, clusters, regions and notebooks."""
