"""What visitors do in the shop, noted for those who study it: events that no order depends on."""
