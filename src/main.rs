//! The `scalectl` binary.

fn main() {}
