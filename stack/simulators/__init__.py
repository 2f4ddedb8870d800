"""Stand-ins for what lies outside of the shop, speaking the real protocols."""
