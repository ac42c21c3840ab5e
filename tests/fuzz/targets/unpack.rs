//! Compressed bodies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::unpack;

fuzz_target!(|bytes: &[u8]| unpack(bytes));
