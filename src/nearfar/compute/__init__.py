"""What a run computes on: ranks, device, precision."""
