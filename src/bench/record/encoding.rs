//! HdrHistogram's V2 format, compressed and in base64, as its official tools read it: base64 of a cookie, a length and a
//! zlib stream, which holds the histogram in the plain V2 format.
//!
//! Source: <https://github.com/HdrHistogram/HdrHistogram>, `AbstractHistogram.encodeIntoCompressedByteBuffer`. The
//! `hdrhistogram` crate writes the same, with a new compressor for every histogram: to clear the third of a megabyte that
//! each of them takes was half of what a short run cost beside its requests.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, FlushCompress, Status};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};

/// What a compressed histogram of this version begins with.
const COOKIE: u32 = 0x1c84_9314;
/// Its cookie and its length.
const HEAD: usize = 8;

thread_local! {
    static ENCODER: RefCell<Encoder> = RefCell::new(Encoder::new());
}

/// What is kept from one histogram to the next.
struct Encoder {
    histogram: Histogram<u64>,
    plain: V2Serializer,
    zlib: Compress,
    bytes: Vec<u8>,
}

impl Encoder {
    fn new() -> Self {
        let histogram = super::distribution::empty();
        Self {
            histogram,
            plain: V2Serializer::new(),
            zlib: Compress::new(Compression::default(), true),
            bytes: Vec::new(),
        }
    }

    /// Fails at nothing that is in memory.
    fn encode(&mut self, recorded: impl Iterator<Item = (u64, u64)>) -> Option<String> {
        self.histogram.reset();
        recorded.for_each(|(ns, count)| self.histogram.saturating_record_n(ns, count));
        self.bytes.clear();
        self.plain.serialize(&self.histogram, &mut self.bytes).ok()?;
        self.zlib.reset();
        // Deflate makes nothing longer by more than five bytes in 16 KiB; what is left covers zlib's own.
        let mut packed = Vec::with_capacity(HEAD + self.bytes.len() + self.bytes.len() / 1024 + 64);
        packed.extend([0; HEAD]);
        let status = self.zlib.compress_vec(&self.bytes, &mut packed, FlushCompress::Finish).ok()?;
        debug_assert_eq!(status, Status::StreamEnd);
        let length = u32::try_from(packed.len() - HEAD).ok()?;
        packed[..4].copy_from_slice(&COOKIE.to_be_bytes());
        packed[4..HEAD].copy_from_slice(&length.to_be_bytes());
        Some(STANDARD.encode(packed))
    }
}

/// Writes a histogram of durations in nanoseconds and how many there are of each.
pub fn encode(recorded: impl Iterator<Item = (u64, u64)>) -> String {
    let encoded = ENCODER.with_borrow_mut(|encoder| encoder.encode(recorded));
    debug_assert!(encoded.is_some());
    encoded.unwrap_or_default()
}

/// Reads a histogram.
///
/// # Errors
///
/// What of the text is wrong.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text).map_err(|e| format!("not base64: {e}"))?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|e| format!("not a histogram of format V2: {e}"))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::V2DeflateSerializer;

    use super::*;

    #[test]
    fn it_is_what_the_crate_writes() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1_000, 3_600_000_000_000, 3).unwrap();
        for round in 0..40_u32 {
            let mut theirs = Vec::new();
            V2DeflateSerializer::new().serialize(&histogram, &mut theirs).unwrap();
            let write = |histogram: &Histogram<u64>| {
                encode(histogram.iter_recorded().map(|b| (b.value_iterated_to(), b.count_since_last_iteration())))
            };
            let ours = write(&histogram);
            assert_eq!(ours, STANDARD.encode(theirs), "after {} values", histogram.len());
            assert_eq!(write(&decode(&ours).unwrap()), ours);
            for i in 0..2_u64.pow(round.min(14)) {
                histogram.saturating_record(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (20 + round));
            }
        }
    }

    #[test]
    fn what_is_damaged_says_so() {
        for (text, said) in [("?", "base64"), ("AAAA", "V2"), ("", "V2")] {
            assert!(decode(text).unwrap_err().contains(said), "{text}");
        }
    }
}
