//! Answers of HTTP/1.1.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::answer;

fuzz_target!(|bytes: &[u8]| answer(bytes));
