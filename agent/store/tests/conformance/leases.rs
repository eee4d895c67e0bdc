//! Leases: their end deletes their keys, and nothing runs without one.

use std::time::Duration;

use rstest::rstest;
use stoker_store::{LeaseId, StoreError, Txn};
use tokio::runtime::Handle;

use crate::subject::{Kind, commit, deleted, next, put, soon, text};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_hours(1);

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn an_expired_lease_takes_its_keys_along(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let lasting = store.grant_lease(LONG).await.unwrap();
    tokio::task::yield_now().await; // so that the timer already sleeps, for long
    let lease = store.grant_lease(SHORT).await.unwrap();
    let revision = commit(
        store,
        Txn::new()
            .put_leased("l/b", "1", lease)
            .put_leased("l/a", "1", lease)
            .put_leased("m", "1", lasting)
            .put("n", "1"),
    )
    .await;
    let mut watch = store.watch("", revision).await.unwrap();
    assert_eq!(next(&mut watch).await, vec![deleted(revision + 1, "l/a"), deleted(revision + 1, "l/b")]);
    let left = store.range("").await.unwrap();
    assert_eq!(left.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!(left.revision, revision + 1);
    for result in [store.keep_alive(lease).await, store.revoke(lease).await] {
        assert!(matches!(result, Err(StoreError::NoLease { id }) if id == lease));
    }
    let late = store.commit(Txn::new().put("n", "2").put_leased("l/a", "2", lease)).await;
    assert!(matches!(late, Err(StoreError::NoLease { id }) if id == lease));
    assert_eq!(text(store, "n").await.as_deref(), Some("1"), "nothing of a refused transaction is written");
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test(start_paused = true)]
async fn a_lease_lives_as_long_as_it_is_kept_alive(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let lease = store.grant_lease(Duration::from_secs(10)).await.unwrap();
    let revision = commit(store, Txn::new().put_leased("k", "1", lease)).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        store.keep_alive(lease).await.unwrap();
    }
    assert_eq!(text(store, "k").await.as_deref(), Some("1"));
    let begun = tokio::time::Instant::now();
    let mut watch = store.watch("k", revision).await.unwrap();
    assert_eq!(next(&mut watch).await, vec![deleted(revision + 1, "k")]);
    assert_eq!(begun.elapsed().as_secs(), 10, "by the test's own clock");
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_key_belongs_to_the_lease_of_its_last_put(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let one = store.grant_lease(LONG).await.unwrap();
    let two = store.grant_lease(LONG).await.unwrap();
    assert_ne!(one, two);
    assert_eq!(store.revision().await.unwrap(), 0, "granting changes no key");
    commit(store, Txn::new().put_leased("a", "1", one).put_leased("b", "1", one).put_leased("c", "1", one))
        .await;
    commit(store, Txn::new().put("a", "2").put_leased("b", "2", two)).await;
    let mut watch = store.watch("", 2).await.unwrap();
    store.revoke(one).await.unwrap();
    assert_eq!(next(&mut watch).await, vec![deleted(3, "c")]);
    store.revoke(two).await.unwrap();
    assert_eq!(next(&mut watch).await, vec![deleted(4, "b")]);
    assert_eq!(text(store, "a").await.as_deref(), Some("2"));

    let empty = store.grant_lease(LONG).await.unwrap();
    assert!(empty > two, "ids are not used again");
    store.revoke(empty).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 4, "a lease without keys ends unseen");
    assert!(matches!(store.keep_alive(LeaseId(99)).await, Err(StoreError::NoLease { id: LeaseId(99) })));
    assert_eq!(commit(store, Txn::new().put("b", "3")).await, 5);
    assert_eq!(next(&mut watch).await, vec![put(5, "b", "3")]);
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn there_is_a_task_only_while_there_is_a_lease(#[case] kind: Kind) {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let subject = kind.make();
    let store = &*subject.store;
    commit(store, Txn::new().put("a", "1")).await;
    let _watch = store.watch("", 0).await.unwrap();
    assert_eq!(tasks(), 0);
    for _ in 0..3 {
        let lease = store.grant_lease(LONG).await.unwrap();
        let other = store.grant_lease(LONG).await.unwrap();
        store.revoke(other).await.unwrap();
        assert_eq!(tasks(), 1);
        store.revoke(lease).await.unwrap();
        soon(async {
            while tasks() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let _ = store.grant_lease(LONG).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 1);
    drop(subject);
    soon(async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
