"""The contract for machines: JSON Schemas of records and settings, and an AsyncAPI document of the topics."""
