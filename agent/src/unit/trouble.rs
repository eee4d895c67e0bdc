//! What keeps a unit from going on: a status to show, evidence, and whether it is tried again by itself.

use std::time::Duration;

use stoker_model::status::{State, Status};

/// Something is in the way.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// What is shown.
    pub status: Status,
    /// When it is tried again by itself; without, only a change does.
    pub retry: Option<Duration>,
}

/// How soon something that may heal by itself is tried again.
pub(crate) const SOON: Duration = Duration::from_secs(5);

impl Trouble {
    /// A person must do something; looked at again now and then, since they may do it outside of stoker.
    pub(crate) fn blocked(code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let status = Status::new(State::Blocked, message).code(code).fix(fix);
        Self { status, retry: Some(SOON) }
    }

    /// Something failed.
    pub(crate) fn error(code: &str, message: impl Into<String>) -> Self {
        let status = Status::new(State::Error, message).code(code).fix("stoker why UNIT");
        Self { status, retry: Some(SOON) }
    }

    /// An error of ours or the machine's, with its chain.
    pub(crate) fn from_error(code: &str, error: &dyn std::error::Error) -> Self {
        Self::error(code, crate::problem::chain(error))
    }
}

impl From<stoker_store::StoreError> for Trouble {
    fn from(error: stoker_store::StoreError) -> Self {
        Self::from_error("ST0330", &error)
    }
}

impl From<stoker_model::local::LocalError> for Trouble {
    fn from(error: stoker_model::local::LocalError) -> Self {
        Self::from_error("ST0331", &error)
    }
}

impl From<stoker_host::services::ServiceError> for Trouble {
    fn from(error: stoker_host::services::ServiceError) -> Self {
        Self::from_error("ST0303", &error)
    }
}
