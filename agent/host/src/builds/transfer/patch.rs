//! Patches: zstd with the old content as the prefix that the new one may refer to. Owns the parameters, so that both
//! ends need bounded memory; must not know files or streams.

use std::io::{self, BufReader, Read};

use super::plan::PATCHED;

/// zstd's level: 19 saves a fifth for sixteen times the time.
const LEVEL: i32 = 3;
/// The largest window, as a power of two: the old and the new content together.
const WINDOW: u32 = (2 * PATCHED).ilog2();

/// Packs `size` bytes of `from` against `old`; nothing where that takes more than `most` bytes. `old` may be empty.
pub(super) fn pack(old: &[u8], from: &mut dyn Read, size: u64, most: u64) -> io::Result<Option<Vec<u8>>> {
    let room = Room { bytes: Vec::new(), most };
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(room, LEVEL, old)?;
    let reach = (old.len() as u64 + size).next_power_of_two().ilog2();
    encoder.long_distance_matching(true)?;
    encoder.window_log(reach.clamp(10, WINDOW))?;
    encoder.include_checksum(false)?;
    encoder.set_pledged_src_size(Some(size))?;
    // What is hashed on the way is so in large pieces.
    let mut from = BufReader::with_capacity(128 * 1024, from);
    let packed = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish());
    match packed {
        Ok(room) => Ok(Some(room.bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(error),
    }
}

/// Unpacks what [`pack`] made.
pub(super) type Unpacker<'a, R> = zstd::stream::read::Decoder<'a, BufReader<R>>;

/// Unpacks one packed content of `from` against `old`.
pub(super) fn unpack<R: Read>(old: &[u8], from: R) -> io::Result<Unpacker<'_, R>> {
    let buffered = BufReader::with_capacity(64 * 1024, from);
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(buffered, old)?;
    decoder.window_log_max(WINDOW)?;
    Ok(decoder.single_frame())
}

/// A vector that takes no more than so much.
struct Room {
    bytes: Vec<u8>,
    most: u64,
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut x = seed | 1;
        (0..len)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn a_patch_is_small_and_gives_the_content_back() {
        let old = noise(1, 3 << 20);
        let mut new = noise(2, 1 << 20);
        new.extend_from_slice(&old[1000..]);
        new[2 << 20] ^= 1;
        let patch = pack(&old, &mut &new[..], new.len() as u64, u64::MAX).unwrap().unwrap();
        assert!(patch.len() < (1 << 20) + 8192, "{}", patch.len());
        let mut back = Vec::new();
        unpack(&old, &patch[..]).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == new);
        // Against another content it gives anything but that one.
        let (stranger, mut other) = (noise(9, old.len()), Vec::new());
        let read = unpack(&stranger, &patch[..]).unwrap().read_to_end(&mut other);
        assert!(read.is_err() || other != new);
    }

    #[test]
    fn what_packs_badly_is_left() {
        let new = noise(3, 1 << 20);
        assert_eq!(pack(&[], &mut &new[..], new.len() as u64, 600_000).unwrap(), None);
        let empty = pack(&[], &mut &b""[..], 0, 100).unwrap().unwrap();
        let mut back = Vec::new();
        unpack(&[], &empty[..]).unwrap().read_to_end(&mut back).unwrap();
        assert!(back.is_empty());
    }
}
