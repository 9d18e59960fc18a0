"""The plan: frozen choices, and the tables in which it is stored."""
