"""Inspect a run: is it right (audit), and why is a prediction what it is (explain)?"""
