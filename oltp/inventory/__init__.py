"""Stock in several warehouses: reservations, holds, allocation, the ledger, and the gate in Redis before them."""
