//! Values of the command line and of files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::arguments;

fuzz_target!(|text: &str| arguments(text));
