//! Sizes and durations as people write them: `4g` is 4·2³⁰ bytes, `60s` is sixty seconds. Owns both spellings.

use std::time::Duration;

/// The text is neither a size nor a duration, as asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// Not a size.
    #[error("`{0}` is not a size: expected a number and an optional unit k, m, g or t, as in `4g`")]
    Size(String),
    /// Not a duration.
    #[error("`{0}` is not a duration: expected a number and a unit ms, s, m, h or d, as in `60s`")]
    Duration(String),
}

/// The largest number that JSON carries exactly.
pub const MAX_SAFE: u64 = 1 << 53;

/// Bytes of a size: powers of 1024, `4g`, `512m`, `1.5g`, `100` (bytes); `b`, `ib` and `B` may follow.
pub fn bytes(text: &str) -> Result<u64, SizeError> {
    let bad = || SizeError::Size(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let body = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match body.chars().last() {
        Some('k') => (&body[..body.len() - 1], 10),
        Some('m') => (&body[..body.len() - 1], 20),
        Some('g') => (&body[..body.len() - 1], 30),
        Some('t') => (&body[..body.len() - 1], 40),
        _ => (body, 0),
    };
    let value: f64 = number.parse().map_err(|_| bad())?;
    let value =
        value * f64::from(1u32 << (shift % 30)) * if shift >= 30 { f64::from(1u32 << 30) } else { 1.0 };
    if value.is_finite() && (0.0..=MAX_SAFE as f64).contains(&value) { Ok(value as u64) } else { Err(bad()) }
}

/// The duration `60s`, `5m`, `1h`, `500ms`, `2d`.
pub fn duration(text: &str) -> Result<Duration, SizeError> {
    let bad = || SizeError::Duration(text.to_owned());
    let text_trimmed = text.trim();
    let at = text_trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text_trimmed[..at].parse().map_err(|_| bad())?;
    let millis = match &text_trimmed[at..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("4g", 4 << 30),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("100", 100),
            ("1KiB", 1024),
            ("2t", 2 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "g", "-1g", "4x", "1e400", "nan"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "60", "s", "1w", "-1s", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
