"""Real small things that tests share: a catalog, weights, and a runner without Prefect."""
