//! Unpacking gzip. Owns which decoder does it: ISA-L where the feature `isal` is on (it takes about two thirds of
//! the time), zlib-rs otherwise. Both read all members of a file, check each one's checksum and length, and end in
//! an error where anything else follows. It must not know what is packed.

use std::io::{self, Read};

/// Reads `packed`, a gzip file, unpacked.
pub(super) fn gunzip<R: io::BufRead>(packed: R) -> impl Read {
    #[cfg(feature = "isal")]
    return isal_gunzip(packed);
    #[cfg(not(feature = "isal"))]
    return rust_gunzip(packed);
}

#[cfg(any(test, not(feature = "isal")))]
fn rust_gunzip<R: io::BufRead>(packed: R) -> impl Read {
    flate2::bufread::MultiGzDecoder::new(packed)
}

#[cfg(feature = "isal")]
fn isal_gunzip<R: Read>(packed: R) -> impl Read {
    Isal { decoder: Box::new(isal::read::GzipDecoder::new(Whole { from: packed, ended: false })) }
}

/// The decoder holds addresses within itself once it has begun: it is boxed before, so that it never moves.
#[cfg(feature = "isal")]
struct Isal<R: Read> {
    decoder: Box<isal::read::GzipDecoder<Whole<R>>>,
}

#[cfg(feature = "isal")]
impl<R: Read> Read for Isal<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(out).map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref()) {
            Some(isal::error::Error::Other(_)) if self.decoder.get_ref().ended => {
                io::ErrorKind::UnexpectedEof.into()
            }
            Some(_) => io::Error::new(io::ErrorKind::InvalidData, "what is packed in it makes no sense"),
            None => error,
        })
    }
}

/// Always fills the buffer but at the end: the decoder takes two steps without output for damage, and a short piece
/// of input may give none.
#[cfg(feature = "isal")]
struct Whole<R> {
    from: R,
    ended: bool,
}

#[cfg(feature = "isal")]
impl<R: Read> Read for Whole<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = read_full(&mut self.from, out)?;
        self.ended |= got < out.len();
        Ok(got)
    }
}

/// Fills `buffer` as far as `from` goes; how far is the result.
pub(super) fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use proptest::prelude::*;

    use super::*;

    fn gz(data: &[u8], level: u32) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn all(mut from: impl Read, piece: usize) -> io::Result<Vec<u8>> {
        let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match read_full(&mut from, &mut buffer)? {
                0 => return Ok(out),
                n => out.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// What both decoders make of the same bytes must be the same, if only that it is damaged.
    fn both(packed: &[u8], input_piece: usize, output_piece: usize) -> Option<Vec<u8>> {
        let rust = all(rust_gunzip(BufReader::with_capacity(input_piece, packed)), output_piece).ok();
        let used = all(gunzip(BufReader::with_capacity(input_piece, packed)), output_piece).ok();
        assert_eq!(rust, used);
        used
    }

    fn text(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Runs, repetitions and noise, so that every kind of block is met.
            match state >> 62 {
                0 => out.extend(std::iter::repeat_n((state >> 40) as u8, (state >> 48) as usize % 300)),
                1 => out.extend_from_slice(&state.to_le_bytes()),
                _ => out.extend_from_slice(b"lib/some-artifact-1.2.3.jar\n"),
            }
        }
        out.truncate(len);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn members_come_out_as_they_went_in(
            parts in prop::collection::vec((any::<u64>(), 0usize..200_000, 0u32..10), 1..4),
            input_piece in 1usize..70_000,
            output_piece in 1usize..300_000,
        ) {
            let (mut packed, mut plain) = (Vec::new(), Vec::new());
            for (seed, len, level) in parts {
                let part = text(seed, len);
                packed.extend(gz(&part, level));
                plain.extend(part);
            }
            prop_assert_eq!(both(&packed, input_piece, output_piece), Some(plain));
        }

        #[test]
        fn damage_is_seen_wherever_it_is(
            seed in any::<u64>(),
            len in 0usize..60_000,
            level in 0u32..10,
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let plain = text(seed, len);
            let packed = gz(&plain, level);
            prop_assert_eq!(both(&packed[..at.index(packed.len())], 4096, 50_000).filter(|_| at.index(packed.len()) > 0), None);
            let mut flipped = packed.clone();
            // What a header says of time and system is nobody's.
            let at = 10 + at.index(packed.len() - 10);
            flipped[at] ^= 1 << bit;
            // The last byte before the checksum may have bits that mean nothing.
            prop_assert!(both(&flipped, 4096, 50_000).is_none_or(|got| got == plain));
        }
    }

    #[test]
    fn nothing_may_follow() {
        let packed = gz(b"content", 6);
        for tail in
            [&b"x"[..], b"\0", &[0; 512], b"\x1f\x8b", b"trailing garbage that is long enough", &[0; 9000]]
        {
            assert_eq!(both(&[&packed, tail].concat(), 8192, 8192), None, "{tail:?}");
        }
    }
}
