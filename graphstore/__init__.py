"""A product catalogue as a graph: one schema, several stores."""
