//! Bodies that came compressed, as `--compressed` asks for them (RFC 9110, 8.4). Nothing of this is in the service time:
//! it happens after the last byte was read.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use brotli_decompressor::Decompressor as Brotli;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Answer, MOST_BODY, MOST_PACKED};
use crate::bench::record::sample::{Cause, Fault, Phase, Side};

/// What is asked for.
pub const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// The longest that a body may become, in bytes: an answer must not keep the generator from its schedule for long.
const MOST_UNPACKED: u64 = 256 * MIB;
const MIB: u64 = 1024 * 1024;
/// The most encodings that a body may have: each of them needs memory of its own.
const MOST_ENCODINGS: usize = 4;
/// How much is decompressed at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// Decompresses the body of an answer, of which as much is kept as of any other; gives the bytes of its body as it came
/// and decompressed.
///
/// # Errors
///
/// It is not what its head says, or ends too early; it is longer than what is kept of an answer, or becomes longer than
/// 256 MiB, without any of its encodings; it has an encoding that was not asked for, or too many.
pub fn unpack(answer: &mut Answer) -> Result<(u64, u64), Fault> {
    unpack_within(MOST_UNPACKED, answer)
}

/// The same of a body that may become so many bytes long.
pub(in crate::bench) fn unpack_within(most: u64, answer: &mut Answer) -> Result<(u64, u64), Fault> {
    let packed = answer.body().len() as u64;
    let refused = |why: String| Fault::new(Phase::Body, Cause::Decompression, Side::Server, why);
    let encodings = answer.encodings();
    // The answer to a HEAD has an encoding and no body.
    if encodings.is_empty() || packed == 0 {
        return Ok((packed, packed));
    }
    if answer.is_cut() {
        let most = MOST_PACKED as u64 / MIB;
        return Err(refused(format!("the compressed body is longer than the {most} MiB that are kept of an answer")));
    }
    if encodings.len() > MOST_ENCODINGS {
        let number = encodings.len();
        return Err(refused(format!("the body is encoded {number} times, and at most {MOST_ENCODINGS} are taken off")));
    }
    let is_too_long = Cell::new(false);
    let (kept, length) = read_all(&encodings, answer.body(), most, &is_too_long).map_err(|error| {
        let what = encodings.join(", ");
        match error.kind() {
            // Decoders have errors of their own, which need not tell what was wrong with what they read.
            _ if is_too_long.get() => refused(format!("the body is longer than {} MiB without its {what}", most / MIB)),
            io::ErrorKind::Unsupported => refused(format!("the body is encoded as {what}, which was not asked for")),
            _ => refused(format!("the body is not {what}: {error}")),
        }
    })?;
    answer.replace_body(kept, length);
    Ok((packed, length))
}

/// Reads a body through its encodings, the last of which was applied last; what is to be kept of it, and its length.
/// Without each of them it may be `most` bytes long, and `is_too_long` says whether it is longer.
fn read_all(encodings: &[String], body: &[u8], most: u64, is_too_long: &Cell<bool>) -> io::Result<(Vec<u8>, u64)> {
    let mut reader: Box<dyn Read + '_> = Box::new(body);
    for encoding in encodings.iter().rev() {
        reader = Box::new(Bounded { inner: decoder(encoding, reader)?, left: most, is_too_long });
    }
    let (mut kept, mut length) = (Vec::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = match reader.read(&mut piece) {
            Ok(0) => return Ok((kept, length)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        length += read as u64;
        let room = MOST_BODY - kept.len();
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

fn decoder<'a>(encoding: &str, reader: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::new(reader);
    Ok(match encoding {
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(reader)),
        // The standard means zlib's format; some servers send what is in it without its frame.
        "deflate" => match reader.fill_buf()? {
            [first, second, ..] if is_zlib(*first, *second) => Box::new(ZlibDecoder::new(reader)),
            _ => Box::new(DeflateDecoder::new(reader)),
        },
        "br" => Box::new(Brotli::new(reader, PIECE)),
        "zstd" => Box::new(Zstd::new(reader)?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// Reads what another reader has, up to a number of bytes.
struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    is_too_long: &'a Cell<bool>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.is_too_long.set(true);
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(read)
    }
}

/// The frames of a body, one after the other (RFC 8878, 3).
struct Zstd<R> {
    frame: FrameDecoder,
    source: R,
}

impl<R: BufRead> Zstd<R> {
    /// At the beginning of the first frame.
    fn new(source: R) -> io::Result<Self> {
        let mut zstd = Self { frame: FrameDecoder::new(), source };
        if zstd.begin()? { Ok(zstd) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Begins the next frame, if there is one.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                // It holds nothing of the body.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    /// Whether what was read is what was compressed, where the frame says that.
    fn is_whole(&self) -> bool {
        let (said, found) = (self.frame.get_checksum_from_data(), self.frame.get_calculated_checksum());
        said.is_none() || said == found
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frame.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            let read = self.frame.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if !self.is_whole() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum does not match"));
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

/// Whether a body begins as zlib's format does (RFC 1950, 2.2): deflate, and a sum that 31 divides.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(text: &[u8]) -> Vec<u8> {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
        encoder.write_all(text).unwrap();
        encoder.into_inner()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn answer(encoding: &str, body: &[u8]) -> Answer {
        let mut answer = Answer::default();
        answer.take_head(format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n").as_bytes());
        answer.take_body(body);
        answer
    }

    fn text() -> Vec<u8> {
        (0..20_000).map(|i| b"abcdefgh\n"[i * i % 9]).collect()
    }

    #[test]
    fn every_encoding_is_taken_off() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        // The second holds nothing of the body.
        let frames = [&zstd(b"one "), &b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(b"two")].concat();
        for (encoding, body, expected) in [
            ("gzip", gzip(&text()), text()),
            ("GZIP", two, b"one two".to_vec()),
            ("x-gzip", gzip(b""), b"".to_vec()),
            ("deflate", zlib(&text()), text()),
            ("deflate", deflate(&text()), text()),
            ("br", brotli(&text()), text()),
            ("zstd", zstd(&text()), text()),
            ("zstd", frames, b"one two".to_vec()),
            ("gzip, br", brotli(&gzip(&text())), text()),
            ("identity", b"as it is".to_vec(), b"as it is".to_vec()),
            ("gzip", Vec::new(), Vec::new()),
        ] {
            let mut answer = answer(encoding, &body);
            assert_eq!(unpack(&mut answer).unwrap(), (body.len() as u64, expected.len() as u64), "{encoding}");
            assert_eq!(answer.body(), expected, "{encoding}");
            assert!(!answer.is_cut());
        }
    }

    #[test]
    fn what_is_not_whole_or_not_what_it_says_is_refused() {
        for encoded in [gzip, zlib, brotli, zstd] {
            let encoding = match encoded(b"x") {
                first if first == gzip(b"x") => "gzip",
                first if first == zlib(b"x") => "deflate",
                first if first == brotli(b"x") => "br",
                _ => "zstd",
            };
            let whole = encoded(&text());
            for length in [1, 3, whole.len() / 2, whole.len() - 1] {
                let fault = unpack(&mut answer(encoding, &whole[..length])).unwrap_err();
                assert_eq!((fault.kind.phase, fault.kind.cause), (Phase::Body, Cause::Decompression));
                assert!(fault.detail.contains(encoding), "{encoding} {length}: {}", fault.detail);
            }
            let mut broken = whole.clone();
            broken[0] ^= 0xff;
            assert!(unpack(&mut answer(encoding, &broken)).is_err(), "{encoding}");
        }
        let unknown = unpack(&mut answer("compress", b"x")).unwrap_err();
        assert!(unknown.detail.contains("compress, which was not asked for"));
    }

    #[test]
    fn long_bodies_are_counted_and_cut() {
        let long = vec![b'x'; MOST_BODY + 5];
        let packed = gzip(&long);
        let mut kept = answer("gzip", &packed);
        assert_eq!(unpack(&mut kept).unwrap(), (packed.len() as u64, long.len() as u64));
        assert!(kept.is_cut() && kept.body().len() == MOST_BODY);
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(MOST_BODY + MOST_BODY / 4).collect();
        let packed = gzip(&noise);
        assert!(packed.len() > MOST_BODY);
        let mut kept = answer("gzip", &packed);
        assert_eq!(unpack(&mut kept).unwrap(), (packed.len() as u64, noise.len() as u64));
        assert!(kept.is_cut() && kept.body() == &noise[..MOST_BODY]);
        let mut cut = answer("gzip", &vec![b'x'; MOST_PACKED + 1]);
        assert!(unpack(&mut cut).unwrap_err().detail.contains("longer than the 16 MiB"));
    }

    #[test]
    fn a_checksum_that_does_not_match_is_refused() {
        let mut packed = zstd(&text());
        *packed.last_mut().unwrap() ^= 1;
        let fault = unpack(&mut answer("zstd", &packed)).unwrap_err();
        assert!(fault.detail.contains("checksum"), "{}", fault.detail);
    }

    /// What is long between two encodings need not be long in the end.
    #[test]
    fn every_encoding_is_bounded_and_so_is_their_number() {
        let nothing = gzip(b"");
        let members = [nothing.repeat(2 * MOST_BODY / nothing.len()), gzip(b"short")].concat();
        for (encodings, packed) in
            [("gzip, gzip", gzip(&members)), ("gzip, zstd", zstd(&members)), ("gzip, br", brotli(&members))]
        {
            assert_eq!(unpack(&mut answer(encodings, &packed)).unwrap(), (packed.len() as u64, 5), "{encodings}");
            let fault = unpack_within(MIB, &mut answer(encodings, &packed)).unwrap_err();
            assert!(fault.detail.contains("longer than 1 MiB without its gzip"), "{encodings}: {}", fault.detail);
        }
        let fault = unpack(&mut answer("gzip, gzip, gzip, gzip, gzip", b"x")).unwrap_err();
        assert!(fault.detail.contains("encoded 5 times"), "{}", fault.detail);
    }

    /// 300 MB of zeroes in a body of 300 kB.
    #[test]
    fn what_becomes_too_long_is_refused_before_it_has_filled_the_memory() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let piece = vec![0; 1_000_000];
        (0..300).for_each(|_| encoder.write_all(&piece).unwrap());
        let fault = unpack(&mut answer("gzip", &encoder.finish().unwrap())).unwrap_err();
        assert!(fault.detail.contains("longer than 256 MiB"), "{}", fault.detail);
    }
}
