"""`surge chaos`: faults under load, and a checker that holds what customers were told against the books."""
