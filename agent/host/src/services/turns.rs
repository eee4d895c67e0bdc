//! Turns: one operation per service at a time. Must not know what the operations are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Who has the turn, by the services' names.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the service's turn, which lasts for as long as the result is held.
    pub(super) async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody else holds or waits for those that only this map has.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_has_one_turn_and_does_not_wait_for_others() {
        let turns = Arc::new(Turns::default());
        let first = turns.take("a").await;
        let _other = turns.take("b").await;
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { drop(turns.take("a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // Somebody who comes meanwhile does not make the turn anew.
        let _third = turns.take("c").await;
        drop(first);
        waiting.await.unwrap();
        drop(turns.take("d").await);
        assert_eq!(turns.0.lock().unwrap().keys().collect::<Vec<_>>(), ["b", "c", "d"]);
    }
}
