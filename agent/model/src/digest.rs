//! Digests over documents: BLAKE3 of RFC 8785 (canonical) JSON. Owns the one way a document is hashed.

use serde::Serialize;

use crate::ids::Digest;

/// A document cannot be written as canonical JSON.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the document as canonical JSON")]
pub struct NotCanonical(#[from] serde_json::Error);

/// A document's canonical JSON: equal documents are equal bytes.
pub fn canonical<T: Serialize>(document: &T) -> Result<Vec<u8>, NotCanonical> {
    serde_json_canonicalizer::to_vec(document).map_err(NotCanonical)
}

/// The digest of a document's canonical JSON: equal documents have equal digests on any host.
pub fn of_document<T: Serialize>(document: &T) -> Result<Digest, NotCanonical> {
    canonical(document).map(|bytes| Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_and_spaces_do_not_matter() {
        let a: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": [1.0, "x"]}"#).unwrap();
        assert_eq!(of_document(&a).unwrap(), of_document(&json!({"a": [1, "x"], "b": 1})).unwrap());
    }
}
