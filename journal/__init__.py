"""The durable side: documents, their journals, snapshots and projections.  Synchronous; see FORMAT.md."""
