"""Payments: money of customers that a gateway holds, takes and gives back."""
