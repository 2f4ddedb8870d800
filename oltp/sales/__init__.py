"""Flash sales: a product at a special price for a while, so many units altogether and so many for one customer."""
