//! The stores under test, and waiting with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use stoker_store::{Committed, Embedded, Event, HistoryBound, Memory, Options, Revision, Store, Txn, Watch};
use tempfile::TempDir;

/// A back end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Embedded,
    Memory,
}

/// An empty store with what it needs to live.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    _dir: Option<TempDir>,
}

impl Kind {
    pub(crate) fn make(self) -> Subject {
        self.make_with(HistoryBound::default())
    }

    pub(crate) fn make_with(self, history: HistoryBound) -> Subject {
        match self {
            Self::Embedded => {
                let dir = tempfile::tempdir().unwrap();
                let options = Options { history, ..Options::default() };
                let store = Embedded::open_with(&dir.path().join("model.db"), options).unwrap();
                Subject { store: Arc::new(store), _dir: Some(dir) }
            }
            Self::Memory => Subject { store: Arc::new(Memory::with_history(history)), _dir: None },
        }
    }
}

/// Commits what must succeed.
pub(crate) async fn commit(store: &dyn Store, txn: Txn) -> Revision {
    match store.commit(txn).await.unwrap() {
        Committed::Yes(revision) => revision,
        Committed::No => panic!("a compare failed"),
    }
}

/// The value of a key as text.
pub(crate) async fn text(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key).await.unwrap().map(|entry| String::from_utf8(entry.value).unwrap())
}

/// The result of `future`, or a failure after a generous while.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing happened for 30 seconds")
}

/// The next batch, which must come.
pub(crate) async fn next(watch: &mut Watch) -> Vec<Event> {
    soon(watch.next()).await.expect("the watch ended").expect("the watch failed")
}

/// All batches up to and with `last`.
pub(crate) async fn up_to(watch: &mut Watch, last: Revision) -> Vec<Vec<Event>> {
    let mut batches: Vec<Vec<Event>> = Vec::new();
    while batches.last().is_none_or(|batch| batch[0].revision < last) {
        batches.push(next(watch).await);
    }
    batches
}

/// An event of a put.
pub(crate) fn put(revision: Revision, key: &str, value: &str) -> Event {
    Event { revision, key: key.into(), value: Some(value.into()) }
}

/// An event of a deletion.
pub(crate) fn deleted(revision: Revision, key: &str) -> Event {
    Event { revision, key: key.into(), value: None }
}
