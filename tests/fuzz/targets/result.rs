//! Results, and what is reported of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::report::invariants::is_presentable;

fuzz_target!(|bytes: &[u8]| is_presentable(bytes));
