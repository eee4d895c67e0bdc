//! The mirror: the store's model, typed and in memory, kept up by its watch. Events are hints: when the watch breaks
//! or is too old, everything is read again.

use std::sync::Arc;
use std::time::Duration;

use stoker_model::keys::model_prefix;
use stoker_model::snapshot::{BadRecord, Snapshot};
use stoker_store::{Store, StoreError};
use tokio::sync::watch;

use super::MODEL;

/// The model cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    /// The store.
    #[error("cannot read the model")]
    Store(#[from] StoreError),
    /// One record.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

/// Reads the whole model.
pub(super) async fn read(store: &dyn Store) -> Result<Snapshot, MirrorError> {
    let prefix = model_prefix(MODEL);
    let range = store.range(&prefix).await?;
    let mut snapshot = Snapshot::default();
    for entry in range.entries {
        snapshot.apply(&entry.key[prefix.len()..], Some(&entry.value))?;
    }
    snapshot.read_anew(range.revision);
    Ok(snapshot)
}

/// Keeps `mirror` up until the store closes.
pub(super) async fn follow(store: Arc<dyn Store>, mirror: watch::Sender<Arc<Snapshot>>) {
    loop {
        if let Err(error) = follow_once(store.as_ref(), &mirror).await {
            tracing::warn!(error = %crate::problem::chain(&error), "the watch on the store broke; reading the model again");
        }
        // Not a poll: only after a break, so that a store that is away is not asked in a tight loop.
        tokio::time::sleep(Duration::from_millis(500)).await;
        match read(store.as_ref()).await {
            Ok(snapshot) => {
                mirror.send_replace(Arc::new(snapshot));
            }
            Err(error) => tracing::error!(error = %crate::problem::chain(&error), "cannot read the model"),
        }
    }
}

async fn follow_once(store: &dyn Store, mirror: &watch::Sender<Arc<Snapshot>>) -> Result<(), MirrorError> {
    let prefix = model_prefix(MODEL);
    let after = mirror.borrow().revision;
    let mut events = store.watch(&prefix, after).await?;
    while let Some(batch) = events.next().await {
        let batch = batch?;
        let mut next = Snapshot::clone(&mirror.borrow());
        for event in &batch {
            next.follow(&event.key[prefix.len()..], event.value.as_deref(), event.revision)?;
        }
        mirror.send_replace(Arc::new(next));
    }
    Ok(())
}
