//! Where redirects lead.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::redirect;

fuzz_target!(|locations: &[u8]| redirect(locations));
