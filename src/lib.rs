//! scalectl: from an empty folder to a service that provably scales.
