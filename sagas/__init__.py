"""Sagas: the engine, the order saga as data, its worker, and the simulator that tries to break it."""
