//! Statuses and their severities, Juju's words and order. Owns which of several statuses is shown.

use serde::{Deserialize, Serialize};

/// A unit's or an application's condition; `Ord` goes by Juju's severity, the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing was said yet.
    #[default]
    Unknown,
    /// The unit is gone.
    Terminated,
    /// All is well.
    Active,
    /// Waits for something that comes by itself.
    Waiting,
    /// Works on it.
    Maintenance,
    /// A person must do something.
    Blocked,
    /// Something failed.
    Error,
}

impl State {
    /// The word, as users read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Terminated => "terminated",
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Maintenance => "maintenance",
            Self::Blocked => "blocked",
            Self::Error => "error",
        }
    }
}

/// A status: a state, one sentence, and for anything but `active` a stable code and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// The condition.
    pub state: State,
    /// One sentence; empty when there is nothing to add.
    pub message: String,
    /// A stable error code (`ST0123`), or empty.
    pub code: String,
    /// The command or step that mends it, or empty.
    pub fix: String,
}

impl Status {
    /// A status without code and fix.
    pub fn new(state: State, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), ..Self::default() }
    }

    /// Adds the stable code.
    pub fn code(mut self, code: &str) -> Self {
        code.clone_into(&mut self.code);
        self
    }

    /// Adds what to do.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The worse of two; the first where both are as bad.
    pub fn worst(self, other: Self) -> Self {
        if other.state > self.state { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_jujus() {
        use State::{Active, Blocked, Error, Maintenance, Terminated, Unknown, Waiting};
        let order = [Unknown, Terminated, Active, Waiting, Maintenance, Blocked, Error];
        assert!(order.is_sorted());
        let worst = Status::new(Active, "").worst(Status::new(Waiting, "a")).worst(Status::new(Waiting, "b"));
        assert_eq!(worst.message, "a");
    }
}
