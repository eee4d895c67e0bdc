//! What the stores inside this process share: the lock, waking watches, and the leases' timer.
//! Must not: know how an [`Engine`] keeps its data.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::lease::Deadlines;
use crate::{
    Committed, Entry, Event, EventSource, LeaseId, MAX_TTL, Range, Revision, StoreError, Txn, Watch, limits,
};

/// How long a lease that could not be ended (a full disk) waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A synchronous store: one caller at a time, no waiting for events or time.
pub(crate) trait Engine: Send + 'static {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    fn range(&self, prefix: &str) -> Result<Range, StoreError>;
    fn revision(&self) -> Result<Revision, StoreError>;
    /// `txn` is within the limits.
    fn commit(&mut self, txn: &Txn) -> Result<Committed, StoreError>;
    /// The events of the first revision after `after` that has any below `prefix`.
    fn events(&self, prefix: &str, after: Revision) -> Result<Events, StoreError>;
    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Ends a lease, deletes its keys, returns the store's revision.
    fn revoke(&mut self, id: LeaseId) -> Result<Revision, StoreError>;
}

/// Some events of the history.
pub(crate) struct Events {
    /// All of one revision; empty: there are none up to `through`.
    pub(crate) events: Vec<Event>,
    /// The revision up to which this answer reaches.
    pub(crate) through: Revision,
}

impl Events {
    /// Whether a history that begins after `compacted` and ends with `revision` can serve a watch from `after`.
    pub(crate) fn reachable(
        after: Revision,
        compacted: Revision,
        revision: Revision,
    ) -> Result<(), StoreError> {
        if after < compacted {
            return Err(StoreError::Compacted { after, compacted });
        }
        if after > revision {
            return Err(StoreError::Ahead { after, revision });
        }
        Ok(())
    }
}

/// An engine made into a store.
///
/// The engine runs right in the caller's task, under a `std` mutex: a call takes tens of microseconds, a commit one
/// write to the log's end with its fsync. Handing that to a blocking thread would cost more than it saves, keep a
/// pool of threads (and their stacks) alive in a small agent, and let a dropped future leave a commit half awaited.
/// No guard lives across an `await`.
pub(crate) struct Local<E> {
    state: Mutex<State<E>>,
    /// The newest revision. Sent under the lock, so it never goes back.
    head: watch::Sender<Revision>,
    timer: Arc<Timer>,
}

struct State<E> {
    engine: E,
    deadlines: Deadlines,
}

/// Shared with the timer's task; outside the lock, since a runtime that shuts down may drop the task at any time.
#[derive(Default)]
struct Timer {
    running: AtomicBool,
    wake: Notify,
}

impl<E: Engine> Local<E> {
    /// `leases`: those an earlier process left behind; each gets its whole time again.
    pub(crate) fn new(engine: E, leases: Vec<(LeaseId, Duration)>) -> Result<Arc<Self>, StoreError> {
        let (head, _) = watch::channel(engine.revision()?);
        let (mut deadlines, now) = (Deadlines::default(), Instant::now());
        for (id, ttl) in leases {
            deadlines.add(id, ttl.min(MAX_TTL), now);
        }
        Ok(Arc::new(Self { state: Mutex::new(State { engine, deadlines }), head, timer: Arc::default() }))
    }

    /// A panic while the lock is held cannot leave half a change: SQLite rolls back, and memory changes at the end.
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock for a call from a task; starts the timer if leases need it. (`open` has no runtime to start it in.)
    fn enter(self: &Arc<Self>) -> MutexGuard<'_, State<E>> {
        let state = self.lock();
        if !state.deadlines.is_empty()
            && let Ok(runtime) = Handle::try_current()
            && !self.timer.running.swap(true, Ordering::AcqRel)
        {
            let running = Running { timer: self.timer.clone(), ended: false };
            runtime.spawn(run_timer(Arc::downgrade(self), running));
        }
        state
    }

    fn publish(&self, revision: Revision) {
        self.head.send_if_modified(|head| {
            let newer = revision > *head;
            *head = revision.max(*head);
            newer
        });
    }

    pub(crate) fn get(self: &Arc<Self>, key: &str) -> Result<Option<Entry>, StoreError> {
        self.enter().engine.get(key)
    }

    pub(crate) fn range(self: &Arc<Self>, prefix: &str) -> Result<Range, StoreError> {
        self.enter().engine.range(prefix)
    }

    pub(crate) fn revision(self: &Arc<Self>) -> Result<Revision, StoreError> {
        self.enter().engine.revision()
    }

    pub(crate) fn commit(self: &Arc<Self>, txn: &Txn) -> Result<Committed, StoreError> {
        limits::check(txn)?;
        let mut state = self.enter();
        let committed = state.engine.commit(txn)?;
        if let Committed::Yes(revision) = committed {
            self.publish(revision);
        }
        Ok(committed)
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let state = self.enter();
        let head = self.head.subscribe();
        state.engine.events(prefix, after)?;
        drop(state);
        let store = Arc::downgrade(self);
        Ok(Watch::new(Box::new(LocalEvents { store, head, prefix: prefix.to_owned(), after })))
    }

    pub(crate) fn grant_lease(self: &Arc<Self>, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = ttl.min(MAX_TTL);
        let mut state = self.lock();
        let id = state.engine.grant(ttl)?;
        state.deadlines.add(id, ttl, Instant::now());
        drop(state);
        drop(self.enter());
        self.timer.wake.notify_one();
        Ok(id)
    }

    pub(crate) fn keep_alive(self: &Arc<Self>, id: LeaseId) -> Result<(), StoreError> {
        self.enter().deadlines.renew(id, Instant::now())
    }

    pub(crate) fn revoke(self: &Arc<Self>, id: LeaseId) -> Result<(), StoreError> {
        let mut state = self.enter();
        self.end(&mut state, id)?;
        drop(state);
        self.timer.wake.notify_one();
        Ok(())
    }

    fn end(&self, state: &mut State<E>, id: LeaseId) -> Result<(), StoreError> {
        let revision = state.engine.revoke(id)?;
        state.deadlines.remove(id);
        self.publish(revision);
        Ok(())
    }

    /// Ends the leases that are over; the next deadline, or `None` after having declared the timer ended.
    fn expire(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        for id in state.deadlines.over(now) {
            if let Err(error) = self.end(&mut state, id) {
                tracing::warn!(
                    lease = id.0,
                    error = &error as &dyn std::error::Error,
                    "a lease could not be ended yet"
                );
                state.deadlines.postpone(id, now + RETRY);
            }
        }
        let next = state.deadlines.next();
        if next.is_none() {
            self.timer.running.store(false, Ordering::Release);
        }
        next
    }
}

impl<E> Drop for Local<E> {
    fn drop(&mut self) {
        self.timer.wake.notify_one();
    }
}

/// Held by the timer's task: when a runtime drops the task, the next call from another one starts it again.
struct Running {
    timer: Arc<Timer>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.timer.running.store(false, Ordering::Release);
        }
    }
}

/// Sleeps to the next deadline and ends what is over; ends itself with the last lease or with the store.
async fn run_timer<E: Engine>(store: Weak<Local<E>>, mut running: Running) {
    loop {
        let Some(next) = store.upgrade().map(|store| store.expire()) else { return };
        let Some(next) = next else {
            running.ended = true;
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = running.timer.wake.notified() => {}
        }
    }
}

/// Feeds a [`Watch`] from the engine's history; `head` only says when to look.
struct LocalEvents<E> {
    store: Weak<Local<E>>,
    head: watch::Receiver<Revision>,
    prefix: String,
    after: Revision,
}

#[async_trait]
impl<E: Engine> EventSource for LocalEvents<E> {
    async fn next(&mut self) -> Option<Result<Vec<Event>, StoreError>> {
        loop {
            if *self.head.borrow_and_update() > self.after {
                let found = self.store.upgrade()?.enter().engine.events(&self.prefix, self.after);
                match found {
                    Ok(found) => {
                        self.after = found.through;
                        if !found.events.is_empty() {
                            return Some(Ok(found.events));
                        }
                    }
                    Err(error) => return Some(Err(error)),
                }
                continue;
            }
            self.head.changed().await.ok()?;
        }
    }
}

/// Makes a type with a field `local: Arc<Local<_>>` a store.
macro_rules! delegate_store {
    ($name:ty) => {
        #[async_trait::async_trait]
        impl $crate::Store for $name {
            async fn get(&self, key: &str) -> Result<Option<$crate::Entry>, $crate::StoreError> {
                self.local.get(key)
            }
            async fn range(&self, prefix: &str) -> Result<$crate::Range, $crate::StoreError> {
                self.local.range(prefix)
            }
            async fn commit(&self, txn: $crate::Txn) -> Result<$crate::Committed, $crate::StoreError> {
                self.local.commit(&txn)
            }
            async fn watch(
                &self,
                prefix: &str,
                after: $crate::Revision,
            ) -> Result<$crate::Watch, $crate::StoreError> {
                self.local.watch(prefix, after)
            }
            async fn grant_lease(
                &self,
                ttl: std::time::Duration,
            ) -> Result<$crate::LeaseId, $crate::StoreError> {
                self.local.grant_lease(ttl)
            }
            async fn keep_alive(&self, id: $crate::LeaseId) -> Result<(), $crate::StoreError> {
                self.local.keep_alive(id)
            }
            async fn revoke(&self, id: $crate::LeaseId) -> Result<(), $crate::StoreError> {
                self.local.revoke(id)
            }
            async fn revision(&self) -> Result<$crate::Revision, $crate::StoreError> {
                self.local.revision()
            }
        }
    };
}
pub(crate) use delegate_store;
