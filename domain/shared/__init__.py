"""What every context of the domain builds on."""
