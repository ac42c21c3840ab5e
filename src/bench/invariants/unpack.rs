//! Compressed bodies: refused with a reason, or decompressed within bounds; what was compressed is what comes out.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::bench::answer::unpack::unpack_within;
use crate::bench::answer::{Answer, MOST_BODY};
use crate::bench::record::sample::{Cause, Phase};

/// The longest that a body may become here, in bytes: more than is kept of it, and little enough to try many.
const MOST: u64 = 3 * MOST_BODY as u64;

/// Decompresses a body whose encodings are its first line.
///
/// # Panics
///
/// It becomes longer than it may, or its lengths are not those of what is kept; something that was compressed is another
/// one, or is taken for whole when it is not.
pub fn unpack(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (encodings, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    unpacked(encodings, body);
    let Some(cut) = body.first().map(|first| usize::from(*first)) else { return };
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packers: [(&str, Pack); 4] = [("gzip", gzip), ("deflate", zlib), ("deflate", deflate), ("zstd", zstd)];
    for (place, (name, pack)) in packers.into_iter().enumerate() {
        let packed = pack(body);
        is(name, &packed, body);
        let part = &packed[..cut % packed.len()];
        assert!(part.is_empty() || unpacked(name.as_bytes(), part).is_none(), "a part of {name}: {part:?}");
        if matches!(name, "gzip" | "zstd") {
            is(name, &[pack(&body[..cut.min(body.len())]), pack(&body[cut.min(body.len())..])].concat(), body);
        }
        let (outer, again) = packers[(cut + place) % packers.len()];
        is(&format!("{name}, {outer}"), &again(&packed), body);
    }
}

fn is(encodings: &str, packed: &[u8], body: &[u8]) {
    assert_eq!(unpacked(encodings.as_bytes(), packed).as_deref(), Some(body), "{encodings}: {packed:?}");
}

/// What is kept of a body; `None` where it is refused.
fn unpacked(encodings: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Answer::default();
    answer.take_head(&[b"HTTP/1.1 200 OK\r\nContent-Encoding: ", encodings, b"\r\n\r\n"].concat());
    answer.take_body(body);
    match unpack_within(MOST, &mut answer) {
        Ok((packed, length)) => {
            assert_eq!(packed, body.len() as u64);
            assert!(length <= MOST.max(packed), "{length} bytes");
            assert_eq!(answer.body().len() as u64, length.min(MOST_BODY as u64));
            assert_eq!(answer.is_cut(), length > MOST_BODY as u64);
            assert!(!answer.encodings().is_empty() || answer.body() == body);
            Some(answer.body().to_vec())
        }
        Err(fault) => {
            assert_eq!((fault.kind.phase, fault.kind.cause), (Phase::Body, Cause::Decompression));
            assert!(!fault.detail.is_empty() && !fault.detail.contains('\n'), "{}", fault.detail);
            None
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_else(|error| panic!("{error}"))
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_else(|error| panic!("{error}"))
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_else(|error| panic!("{error}"))
}

fn zstd(body: &[u8]) -> Vec<u8> {
    compress_to_vec(body, CompressionLevel::Fastest)
}
