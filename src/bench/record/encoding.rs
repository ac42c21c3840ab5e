//! HdrHistogram's V2 format, compressed and in base64, as its official tools read it: base64 of a cookie, a length and a
//! zlib stream, which holds the histogram in the plain V2 format.
//!
//! Source: <https://github.com/HdrHistogram/HdrHistogram>, `AbstractHistogram.encodeIntoCompressedByteBuffer`. The
//! `hdrhistogram` crate writes the same, with a new compressor for every histogram: to clear the third of a megabyte that
//! each of them takes was half of what a short run cost beside its requests.

use std::cell::RefCell;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};

use super::buckets::bucket_of;
use super::distribution::{DIGITS, HIGHEST_NS, LOWEST_NS};

/// What a compressed histogram of this version begins with.
const COOKIE: u32 = 0x1c84_9314;
/// Its cookie and its length.
const HEAD: usize = 8;
/// What a histogram in the plain format begins with.
const PLAIN_COOKIE: u32 = 0x1c84_9313;
/// Its cookie, the length of its counts, their offset, its digits, both bounds and a ratio.
const PLAIN_HEAD: usize = 40;
/// How many buckets one of our bounds has; the last of them lie beyond the upper one.
const BUCKETS: u16 = 24 * 1024;
/// The longest that one in the plain format is: a count has at most nine bytes.
const MOST_PLAIN: u64 = 256 * 1024;

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

/// Reads a histogram of the bounds that all have: the buckets in which something lies, ascending, and how many do.
///
/// The crate's own reader takes memory for what the histogram says of itself, before it has seen that.
///
/// # Errors
///
/// What of the text is wrong.
pub fn decode(text: &str) -> Result<Vec<(u16, u64)>, String> {
    let wrong = |why: &str| format!("not a histogram of format V2: {why}");
    let bytes = STANDARD.decode(text).map_err(|e| format!("not base64: {e}"))?;
    let (cookie, rest) = bytes.split_first_chunk().ok_or_else(|| wrong("it is too short"))?;
    let bytes = match (u32::from_be_bytes(*cookie), rest.split_first_chunk()) {
        (COOKIE, Some((length, packed))) => {
            let length = u32::from_be_bytes(*length) as usize;
            let packed = packed.get(..length).ok_or_else(|| wrong("it is cut off"))?;
            let mut plain = Vec::new();
            let read = ZlibDecoder::new(packed).take(MOST_PLAIN).read_to_end(&mut plain);
            read.map_err(|e| wrong(&e.to_string()))?;
            plain
        }
        (PLAIN_COOKIE, _) => bytes,
        _ => return Err(wrong("it begins with something else")),
    };
    counts(&bytes).map_err(wrong)
}

/// Reads a histogram in the plain format.
fn counts(bytes: &[u8]) -> Result<Vec<(u16, u64)>, &'static str> {
    let (head, mut rest) = bytes.split_first_chunk::<PLAIN_HEAD>().ok_or("it is too short")?;
    let word = |at: usize| head[at..at + 4].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let long = |at: usize| word(at) << 32 | word(at + 4);
    if word(0) != u64::from(PLAIN_COOKIE) {
        return Err("it begins with something else");
    }
    let bounds = (word(12), long(16), long(24));
    if bounds != (u64::from(DIGITS), LOWEST_NS, HIGHEST_NS) || word(8) != 0 || long(32) != 1.0_f64.to_bits() {
        return Err("its bounds are others");
    }
    rest = rest.get(..word(4) as usize).ok_or("it is cut off")?;
    let (mut counts, mut bucket) = (Vec::new(), 0_u64);
    while !rest.is_empty() {
        let number = number(&mut rest).ok_or("it is cut off")?;
        match number {
            0 => bucket += 1,
            // So many buckets in which nothing lies.
            ..0 => bucket = bucket.saturating_add(number.unsigned_abs()),
            1.. => {
                let known = u16::try_from(bucket).ok().filter(|bucket| *bucket < BUCKETS);
                let known = known.ok_or("it counts beyond its bounds")?;
                counts.push((known.min(bucket_of(HIGHEST_NS)), number.unsigned_abs()));
                bucket += 1;
            }
        }
    }
    Ok(counts)
}

/// Takes a number off: seven bits in a byte, the lowest first, all eight of a ninth; even ones stand for their half, odd
/// ones for what is below 0 (ZigZag, LEB128-64b9B).
fn number(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0_u64;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let is_last = place == 8 || byte & 0x80 == 0;
        zigzag |= u64::from(if place == 8 { *byte } else { byte & 0x7f }) << (7 * place);
        if is_last {
            break;
        }
    }
    Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

    use super::super::buckets::lowest_of;
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
            let theirs = |text: &str| {
                let bytes = STANDARD.decode(text).unwrap();
                Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).unwrap()
            };
            assert_eq!(write(&theirs(&ours)), ours);
            let mut plain = Vec::new();
            V2Serializer::new().serialize(&histogram, &mut plain).unwrap();
            let buckets: Vec<_> = histogram
                .iter_recorded()
                .map(|b| (bucket_of(b.value_iterated_to()), b.count_since_last_iteration()))
                .collect();
            for text in [ours, STANDARD.encode(plain)] {
                assert_eq!(decode(&text).as_ref(), Ok(&buckets), "after {} values", histogram.len());
            }
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
        let mut whole = Vec::new();
        let mut histogram = super::super::distribution::empty();
        histogram.record(lowest_of(7000)).unwrap();
        V2Serializer::new().serialize(&histogram, &mut whole).unwrap();
        assert_eq!(counts(&whole), Ok(vec![(7000, 1)]));
        let changed = |at: usize, bytes: &[u8]| {
            let mut changed = whole.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        for (bytes, said) in [
            (changed(0, b"HIST"), "something else"),
            (changed(4, &[0xff; 4]), "cut off"),
            (changed(4, &[0, 0, 0, 1]), "cut off"),
            (changed(15, &[5]), "bounds"),
            (changed(24, &[0x7f; 8]), "bounds"),
            (whole[..whole.len() - 1].to_vec(), "cut off"),
            (whole[..30].to_vec(), "too short"),
        ] {
            assert!(decode(&STANDARD.encode(bytes)).unwrap_err().contains(said), "{said}");
        }
        // Runs of empty buckets that lead past the last one.
        for run in [[0xff; 9], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            let mut far = whole[..PLAIN_HEAD].to_vec();
            far[4..8].copy_from_slice(&20_u32.to_be_bytes());
            far.extend_from_slice(&[run, run].concat());
            far.extend_from_slice(&[0x01, 0x02]);
            assert!(counts(&far).is_err());
        }
        // What unpacks to far more than a histogram can have.
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut zlib, &changed(4, &[0xff; 4])).unwrap();
        std::io::Write::write_all(&mut zlib, &vec![0; 4 * MOST_PLAIN as usize]).unwrap();
        let packed = zlib.finish().unwrap();
        let head = [COOKIE.to_be_bytes(), (packed.len() as u32).to_be_bytes()].concat();
        assert!(decode(&STANDARD.encode([head, packed].concat())).unwrap_err().contains("cut off"));
    }
}
