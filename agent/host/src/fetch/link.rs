//! A source's link: a URL and the digest of what is there. Owns what is a link; must not connect.

use sha2::Digest as _;
use url::Url;

/// The digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl Checksum {
    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Its bytes in hexadecimal.
    pub fn hex(&self) -> String {
        match self {
            Self::Sha256(bytes) => hex::encode(bytes),
            Self::Sha512(bytes) => hex::encode(bytes),
        }
    }

    pub(super) fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Box::default()),
            Self::Sha512(_) => Hasher::Sha512(Box::default()),
        }
    }
}

/// A digest in the making.
pub(super) enum Hasher {
    Sha256(Box<sha2::Sha256>),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn end(self) -> Checksum {
        match self {
            Self::Sha256(hasher) => Checksum::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Checksum::Sha512(hasher.finalize().into()),
        }
    }
}

/// `https://HOST/PATH#sha512=HEX` or `#sha256=HEX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    url: Url,
    checksum: Checksum,
}

/// Why a text is no link. It does not say the text: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not a URL, or one with a blank or control character.
    #[error("it is not a URL")]
    NotUrl,
    /// `http` or another scheme.
    #[error("only https is fetched")]
    NotHttps,
    /// A user or password.
    #[error("there is a user or password in it")]
    Credentials,
    /// No digest.
    #[error("there is no digest at its end")]
    NoDigest,
    /// MD5 or SHA-1.
    #[error("its digest is of a kind that can be forged")]
    Weak,
    /// Another kind of digest, or several.
    #[error("its digest is of an unknown kind")]
    UnknownDigest,
    /// Not so many hexadecimal digits as the digest has.
    #[error("its digest is not of the right length, or not hexadecimal")]
    BadDigest,
}

impl Link {
    /// Reads a link.
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        // A URL's reader would pass over these in silence.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(LinkError::NotUrl);
        }
        let mut url = Url::parse(text).map_err(|_| LinkError::NotUrl)?;
        check(&url)?;
        let checksum = checksum(url.fragment().unwrap_or_default())?;
        url.set_fragment(None);
        Ok(Self { url, checksum })
    }

    /// The digest that the file must have.
    pub fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The link as it may be shown and kept: a query, which may be a key to the file, is left out.
    pub fn shown(&self) -> String {
        format!("{}#{}={}", shown(&self.url), self.checksum.algorithm(), self.checksum.hex())
    }
}

/// A URL without its query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    let _ = bare.set_password(None);
    let _ = bare.set_username("");
    if url.query().is_some() { format!("{bare}?…") } else { bare.to_string() }
}

/// What holds for links and redirects alike.
pub(super) fn check(url: &Url) -> Result<(), LinkError> {
    if url.scheme() != "https" {
        return Err(LinkError::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(LinkError::Credentials);
    }
    if url.host_str().is_none_or(str::is_empty) { Err(LinkError::NotUrl) } else { Ok(()) }
}

fn checksum(fragment: &str) -> Result<Checksum, LinkError> {
    if fragment.is_empty() {
        return Err(LinkError::NoDigest);
    }
    let (kind, digits) = fragment.split_once('=').ok_or(LinkError::NoDigest)?;
    let mut long = [0; 64];
    let mut short = [0; 32];
    let bad = |_| LinkError::BadDigest;
    match kind {
        "sha512" => hex::decode_to_slice(digits, &mut long).map(|()| Checksum::Sha512(long)).map_err(bad),
        "sha256" => hex::decode_to_slice(digits, &mut short).map(|()| Checksum::Sha256(short)).map_err(bad),
        "md5" | "sha1" | "sha" => Err(LinkError::Weak),
        _ => Err(LinkError::UnknownDigest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn links_are_read_and_shown_without_their_secrets() {
        let hex = "ab".repeat(32);
        let link = Link::parse(&format!("https://example.org:8443/a/b.tgz?key=s3cret#sha256={hex}")).unwrap();
        assert_eq!(link.shown(), format!("https://example.org:8443/a/b.tgz?…#sha256={hex}"));
        assert_eq!(link.url().query(), Some("key=s3cret"));
        assert_eq!(link.checksum().hex(), hex);
        let upper = Link::parse(&format!("https://example.org/x#sha256={}", hex.to_uppercase())).unwrap();
        assert_eq!(upper.checksum(), link.checksum());
        assert!(Link::parse(&format!("https://example.org/x#sha512={}", "0".repeat(128))).is_ok());
    }

    #[test]
    fn what_is_no_link_is_told_why() {
        let hex = "ab".repeat(32);
        for (text, why) in [
            ("https://example.org/x".to_owned(), LinkError::NoDigest),
            ("https://example.org/x#".to_owned(), LinkError::NoDigest),
            (format!("https://example.org/x#{hex}"), LinkError::NoDigest),
            (format!("https://example.org/x#sha1={}", "ab".repeat(20)), LinkError::Weak),
            (format!("https://example.org/x#md5={}", "ab".repeat(16)), LinkError::Weak),
            (format!("https://example.org/x#crc={hex}"), LinkError::UnknownDigest),
            (format!("https://example.org/x#sha512={hex}"), LinkError::BadDigest),
            (format!("https://example.org/x#sha256={hex}&sha1=00"), LinkError::BadDigest),
            ("https://example.org/x#sha256=".to_owned(), LinkError::BadDigest),
            (format!("http://example.org/x#sha256={hex}"), LinkError::NotHttps),
            (format!("file:///etc/passwd#sha256={hex}"), LinkError::NotHttps),
            (format!("https://me:pw@example.org/x#sha256={hex}"), LinkError::Credentials),
            (format!("https://me@example.org/x#sha256={hex}"), LinkError::Credentials),
            (format!("https://exa mple.org/x#sha256={hex}"), LinkError::NotUrl),
            (format!("https:\\\\example.org/x#sha256={hex}"), LinkError::NotUrl),
            (format!("https://#sha256={hex}"), LinkError::NotUrl),
        ] {
            assert_eq!(Link::parse(&text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_secret_is_shown(text in "\\PC{0,60}") {
            let _ = Link::parse(&text);
            let with = format!("https://example.org/{}?q=hush#sha256={}", text.replace(['#', '?'], ""), "00".repeat(32));
            if let Ok(link) = Link::parse(&with) {
                prop_assert!(!link.shown().contains("hush"));
            }
        }
    }
}
