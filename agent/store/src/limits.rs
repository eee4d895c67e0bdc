//! The limits every back end holds, so that a model can move from one to another. Must not: touch a back end.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Op, Revision, StoreError, Txn};

/// Bytes a value may have.
pub const MAX_VALUE: usize = 256 * 1024;
/// Operations a transaction may have. A deleted prefix counts as one.
pub const MAX_OPS: usize = 100;
/// Compares a transaction may have.
pub const MAX_COMPARES: usize = 100;
/// Bytes a key may have.
pub const MAX_KEY: usize = 1024;
/// The longest time to live of a lease; a longer one is shortened to it.
pub const MAX_TTL: Duration = Duration::from_hours(365 * 24);

/// How much history a back end of this process keeps for watches that resume. The newest revision is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryBound {
    /// Revisions kept.
    pub revisions: Revision,
    /// Bytes of keys and values kept.
    pub bytes: u64,
}

impl Default for HistoryBound {
    fn default() -> Self {
        Self { revisions: 10_000, bytes: 64 * 1024 * 1024 }
    }
}

/// Refuses what some back end could not do, before any back end sees it.
pub(crate) fn check(txn: &Txn) -> Result<(), StoreError> {
    if txn.ops.len() > MAX_OPS {
        return Err(StoreError::TooManyOps { count: txn.ops.len(), limit: MAX_OPS });
    }
    if txn.compares.len() > MAX_COMPARES {
        return Err(StoreError::TooManyCompares { count: txn.compares.len(), limit: MAX_COMPARES });
    }
    let mut puts = BTreeSet::new();
    for op in &txn.ops {
        match op {
            Op::Put { key, value, .. } => {
                check_key(key)?;
                if value.len() > MAX_VALUE {
                    return Err(StoreError::TooLarge {
                        key: key.clone(),
                        size: value.len(),
                        limit: MAX_VALUE,
                    });
                }
                if !puts.insert(key.as_str()) {
                    return Err(StoreError::WrittenTwice { key: key.clone() });
                }
            }
            Op::Delete { key } => check_key(key)?,
            Op::DeletePrefix { .. } => {}
        }
    }
    let clash = txn.ops.iter().find_map(|op| match op {
        Op::Put { .. } => None,
        Op::Delete { key } => puts.get(key.as_str()),
        Op::DeletePrefix { prefix } => puts.iter().find(|key| key.starts_with(prefix.as_str())),
    });
    match clash {
        Some(key) => Err(StoreError::WrittenTwice { key: (*key).to_owned() }),
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), StoreError> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > MAX_KEY {
        "it has more than 1024 bytes"
    } else if key.contains('\0') {
        "it contains a NUL"
    } else {
        return Ok(());
    };
    Err(StoreError::BadKey { key: key.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_themselves_are_allowed() {
        let mut txn = Txn::new().put("k".repeat(MAX_KEY), vec![0; MAX_VALUE]);
        for i in 1..MAX_OPS {
            txn = txn.delete(format!("d{i}"));
        }
        assert!(check(&txn).is_ok());
        assert!(matches!(
            check(&txn.delete("one more")),
            Err(StoreError::TooManyOps { count: 101, limit: 100 })
        ));
    }

    #[test]
    fn a_key_has_one_fate() {
        let twice = |txn: Txn| matches!(check(&txn), Err(StoreError::WrittenTwice { key }) if key == "a/b");
        assert!(twice(Txn::new().put("a/b", "1").put("a/b", "2")));
        assert!(twice(Txn::new().delete("a/b").put("a/b", "2")));
        assert!(twice(Txn::new().put("a/b", "1").delete_prefix("a/")));
        assert!(check(&Txn::new().put("a", "1").delete_prefix("a/").delete("a/b")).is_ok());
    }

    #[test]
    fn keys_that_cannot_be_kept_are_refused() {
        for key in ["", "a\0b", &"k".repeat(MAX_KEY + 1)] {
            assert!(matches!(check(&Txn::new().put(key, "")), Err(StoreError::BadKey { .. })), "{key:?}");
            assert!(matches!(check(&Txn::new().delete(key)), Err(StoreError::BadKey { .. })), "{key:?}");
        }
    }
}
