//! Names and identities: applications, units, digests. Owns their spelling; must not know what they name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name or identity is not spelled as it must be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not a valid application, charm, resource, option or service name.
    #[error(
        "`{0}` is not a valid name: lower-case letters, digits and single hyphens, starting with a letter"
    )]
    Name(String),
    /// Not `APP/NUMBER`.
    #[error("`{0}` is not a unit: expected APP/NUMBER, as in `web/0`")]
    Unit(String),
    /// Not `b3:` and 64 hex digits.
    #[error("`{0}` is not a digest: expected `b3:` and 64 hexadecimal digits")]
    Digest(String),
}

/// Checks an application's or a charm's name: a label without a part that is only digits, so that `app-0` always
/// splits into application and number.
pub fn check_name(name: &str) -> Result<(), IdError> {
    check_label(name)?;
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if name.split('-').any(number) { Err(IdError::Name(name.to_owned())) } else { Ok(()) }
}

/// Checks a name within a charm or a plan: `[a-z]([a-z0-9-]*[a-z0-9])?`, no double hyphen, at most 63 bytes.
pub fn check_label(name: &str) -> Result<(), IdError> {
    let bytes = name.as_bytes();
    let ok = !bytes.is_empty()
        && bytes.len() <= 63
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && !name.ends_with('-')
        && !name.contains("--");
    if ok { Ok(()) } else { Err(IdError::Name(name.to_owned())) }
}

/// A unit: the `n`th copy of an application, written `app/n`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitId {
    /// The application's name.
    pub app: String,
    /// The unit's number, never used twice within one application.
    pub n: u32,
}

impl UnitId {
    /// The unit `app/n`.
    pub fn new(app: impl Into<String>, n: u32) -> Self {
        Self { app: app.into(), n }
    }

    /// `app-n`: the spelling in folder, service and store names.
    pub fn dashed(&self) -> String {
        format!("{}-{}", self.app, self.n)
    }

    /// Reads `app-n` back.
    pub fn from_dashed(text: &str) -> Result<Self, IdError> {
        let (app, n) = text.rsplit_once('-').ok_or_else(|| IdError::Unit(text.to_owned()))?;
        format!("{app}/{n}").parse()
    }
}

// By number, not by text: `app/10` comes after `app/9`.
impl Ord for UnitId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.app.cmp(&other.app).then(self.n.cmp(&other.n))
    }
}

impl PartialOrd for UnitId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.n)
    }
}

impl FromStr for UnitId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Unit(text.to_owned());
        let (app, n) = text.split_once('/').ok_or_else(bad)?;
        check_name(app).map_err(|_| bad())?;
        if n.len() > 1 && n.starts_with('0') {
            return Err(bad());
        }
        Ok(Self::new(app, n.parse().map_err(|_| bad())?))
    }
}

impl Serialize for UnitId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnitId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The BLAKE3 digest that names a blob, a tree (its canonical manifest), a plan or an observation: `b3:HEX`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the hash's bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The raw 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits, without the prefix: the spelling in file names.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first 12 digits, for tables.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// From 64 hexadecimal digits without the prefix.
    pub fn from_hex(hex: &str) -> Result<Self, IdError> {
        blake3::Hash::from_hex(hex).map(|h| Self(*h.as_bytes())).map_err(|_| IdError::Digest(hex.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.strip_prefix("b3:").ok_or_else(|| IdError::Digest(text.to_owned()))?;
        Self::from_hex(hex).map_err(|_| IdError::Digest(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "hdfs-external", "spark2", "a-b-c1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a-", "a--b", "a_b", "a/b", "a-1", "a-1-b", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_label("a-1"), Ok(()));
    }

    #[test]
    fn units_read_back_and_sort_by_number() {
        let unit: UnitId = "a-b/12".parse().unwrap();
        assert_eq!((unit.to_string(), unit.dashed()), ("a-b/12".into(), "a-b-12".into()));
        assert_eq!(UnitId::from_dashed("a-b-12").unwrap(), unit);
        assert!(UnitId::new("a", 9) < UnitId::new("a", 10));
        for bad in ["a", "a/", "a/x", "a/-1", "a/01", "/1", "a/1/2"] {
            assert!(bad.parse::<UnitId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_read_back() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("sha256:00".parse::<Digest>().is_err());
    }
}
