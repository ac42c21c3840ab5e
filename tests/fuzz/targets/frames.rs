//! What an HTTP/2 target sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::frames;

fuzz_target!(|bytes: &[u8]| frames(bytes));
