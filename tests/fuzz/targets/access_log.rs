//! Access logs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::access_log;

fuzz_target!(|log: &[u8]| access_log(log));
