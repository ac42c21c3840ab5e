//! The catalog of backing services: one entry each.
