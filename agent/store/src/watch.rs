//! [`Watch`]: an ordered stream of a store's events. Must not: know which back end feeds it.

use async_trait::async_trait;

use crate::{Event, StoreError};

/// What a back end gives to feed a [`Watch`].
#[async_trait]
pub trait EventSource: Send {
    /// The events of the next revision that has any; `None` when the store is closed. Safe to drop while it waits.
    async fn next(&mut self) -> Option<Result<Vec<Event>, StoreError>>;
}

/// Events in the order of their revisions, without gap or repetition.
pub struct Watch {
    source: Option<Box<dyn EventSource>>,
}

impl Watch {
    /// A watch fed by `source`.
    pub fn new(source: Box<dyn EventSource>) -> Self {
        Self { source: Some(source) }
    }

    /// Waits for the next revision with events of this watch, and returns all of them: one call, one revision.
    ///
    /// `None`: the store was closed, or an error was returned before. After [`StoreError::Compacted`] the caller
    /// ranges again and opens a new watch. Safe in `select!`: an event not returned is returned by the next call.
    pub async fn next(&mut self) -> Option<Result<Vec<Event>, StoreError>> {
        let batch = self.source.as_mut()?.next().await;
        if !matches!(batch, Some(Ok(_))) {
            self.source = None;
        }
        batch
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("ended", &self.source.is_none()).finish()
    }
}
