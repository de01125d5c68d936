"""Defences of a client: what it does to a gradient or update before it shares it."""
