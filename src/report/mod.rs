//! Report formats: a bench summary in, bytes out.
