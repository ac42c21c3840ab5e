//! Packed heads of HTTP/2, read by another reader as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loona_hpack::Decoder;
use loona_hpack::decoder::DecoderError;
use scalectl_fuzz::bench::invariants::heads;

/// The largest table that a peer may use.
const TABLE: usize = 4096;

fuzz_target!(|block: &[u8]| {
    let mut other = Decoder::new();
    other.set_max_allowed_table_size(TABLE);
    match (heads(block), other.decode(block)) {
        (Some(found), Ok(expected)) => assert_eq!(found, expected),
        (None, Err(_)) => {}
        // A head of nothing but changes of the table.
        (Some(found), Err(DecoderError::SizeUpdateAtEnd)) if found.is_empty() => {}
        (Some(found), Err(why)) => panic!("{found:?} was read, where the other found: {why}"),
        // The other lets the table change behind a field, too.
        (None, Ok(expected)) => {
            let may_resize = block.iter().skip(1).any(|byte| (0x20..0x40).contains(byte));
            assert!(may_resize, "refused, where the other found: {expected:?}");
        }
    }
});
