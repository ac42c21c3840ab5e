//! Bench files.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::file::describes_a_run;

fuzz_target!(|text: &str| describes_a_run(text, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/files"))));
