"""Orchestration: one graph of assets from the shop's topics to the dashboards, its schedules, checks and alerts."""
