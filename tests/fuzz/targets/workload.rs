//! Bench files.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use scalectl_fuzz::bench::Config;
use scalectl_fuzz::bench::invariants::sendable;
use scalectl_fuzz::file::BenchFile;

fuzz_target!(|text: &str| {
    let files = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/files"));
    let Ok(file) = BenchFile::parse(text, &files.join("bench.toml")) else { return };
    let Ok(target) = file.target().unwrap_or("http://localhost:1/").parse() else { return };
    let mut config = Config::new(target);
    if file.apply(&mut config, None).is_ok() {
        sendable(&config, files);
    }
});
