"""What the process runs on: ranks, devices, precision."""
