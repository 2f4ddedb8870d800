"""The catalog: products, categories and prices, and the directory by which other services look products up."""
