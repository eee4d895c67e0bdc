//! Sealing secrets: XChaCha20-Poly1305 under a key of this host in a 0600 file, bound to the secret's id. Owns the
//! key; must not know who may read what.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// A secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The key's file.
    #[error("cannot use the key `{path}`: {why}")]
    Key {
        /// Where.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// No randomness.
    #[error("cannot seal a secret: the system gives no randomness")]
    Random,
    /// Not sealed under this key, or for another id.
    #[error("cannot open secret `{0}`: it was not sealed by this key")]
    Open(String),
}

/// Seals and opens.
pub(crate) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// Reads the key, or makes it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, SealError> {
        use std::os::unix::fs::PermissionsExt as _;
        let wrong = |why: String| SealError::Key { path: path.display().to_string(), why };
        if !path.exists() {
            let mut key = [0u8; 32];
            getrandom::fill(&mut key).map_err(|_| SealError::Random)?;
            stoker_host::fs::atomic_write(path, &key, 0o600, None).map_err(|e| wrong(e.to_string()))?;
        }
        let mode = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!(
                "its mode is {:04o}, others could read it; chmod 0600 it",
                mode & 0o7777
            )));
        }
        let key = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| wrong("it has not 32 bytes".into()))?;
        Ok(Self(XChaCha20Poly1305::new(&key.into())))
    }

    /// Seals a value for the secret `id`.
    pub(crate) fn seal(&self, id: &str, value: &str) -> Result<String, SealError> {
        let mut nonce = [0u8; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: value.as_bytes(), aad: id.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Random)?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed for the secret `id`.
    pub(crate) fn unseal(&self, id: &str, sealed: &str) -> Result<String, SealError> {
        let wrong = || SealError::Open(id.to_owned());
        let bytes = STANDARD.decode(sealed).map_err(|_| wrong())?;
        let (nonce, text) = bytes.split_at_checked(24).ok_or_else(wrong)?;
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| wrong())?;
        let payload = Payload { msg: text, aad: id.as_bytes() };
        let plain = self.0.decrypt(&XNonce::from(nonce), payload).map_err(|_| wrong())?;
        String::from_utf8(plain).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_it_sealed_for_the_same_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let sealer = Sealer::open(&path).unwrap();
        let sealed = sealer.seal("a", "hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(Sealer::open(&path).unwrap().unseal("a", &sealed).unwrap(), "hunter2");
        assert!(sealer.unseal("b", &sealed).is_err());
        assert!(sealer.unseal("a", "AAAA").is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Sealer::open(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Sealer::open(&path), Err(SealError::Key { .. })));
    }
}
