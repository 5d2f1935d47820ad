"""Pacing: as fast as the service protection limits allow, and never faster."""
