//! Checksums of stored rows: SQLite checks the shape of its pages, not the bytes of values. Must not: read or write.

/// 64 bits over the fields, each with its length, so that bytes cannot wander from one field to the next.
pub(crate) fn sum(fields: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    i64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_borders() {
        assert_eq!(sum(&[b"a", b"b"]), sum(&[b"a", b"b"]));
        assert_ne!(sum(&[b"ab", b""]), sum(&[b"a", b"b"]));
        assert_ne!(sum(&[b"a"]), sum(&[b"a", b""]));
    }
}
