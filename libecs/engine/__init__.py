"""The engines that decide: core and executor, their plans, placement and reconciliation. No I/O, no clock."""
