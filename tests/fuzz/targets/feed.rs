//! Files of rows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::invariants::feed;

fuzz_target!(|text: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the rows");
    feed(text, folder.path());
});
