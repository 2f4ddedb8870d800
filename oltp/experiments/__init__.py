"""Experiments: which customers see which variant. So far only their tables; the analysis is the warehouse's."""
