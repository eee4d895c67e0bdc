//! Watches: order, no gap, no repetition, resuming.

use std::collections::BTreeMap;
use std::time::Duration;

use rstest::rstest;
use stoker_store::{Committed, Event, Txn};

use crate::subject::{Kind, commit, deleted, next, put, soon, up_to};

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_watch_gives_the_past_and_then_the_present(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    commit(store, Txn::new().put("a/1", "x")).await;
    commit(store, Txn::new().put("b/1", "x")).await;
    commit(store, Txn::new().put("b/2", "y").delete("a/1").put("a/2", "z")).await;
    let mut all = store.watch("", 1).await.unwrap();
    let mut some = store.watch("a/", 0).await.unwrap();
    assert_eq!(next(&mut all).await, vec![put(2, "b/1", "x")]);
    assert_eq!(next(&mut all).await, vec![put(3, "b/2", "y"), deleted(3, "a/1"), put(3, "a/2", "z")]);
    assert_eq!(next(&mut some).await, vec![put(1, "a/1", "x")]);
    assert_eq!(next(&mut some).await, vec![deleted(3, "a/1"), put(3, "a/2", "z")]);

    commit(store, Txn::new().put("c", "1")).await;
    assert_eq!(store.commit(Txn::new().absent("c").put("a/never", "1")).await.unwrap(), Committed::No);
    commit(store, Txn::new().put("a/2", "z")).await;
    assert_eq!(next(&mut some).await, vec![put(5, "a/2", "z")]);
    assert_eq!(up_to(&mut all, 5).await, vec![vec![put(4, "c", "1")], vec![put(5, "a/2", "z")]]);
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_waiting_watch_can_be_dropped_and_asked_again(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let mut watch = store.watch("a", 0).await.unwrap();
    for i in 1..=20 {
        let waited = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
        assert!(waited.is_err(), "there is nothing yet");
        let revision = commit(store, Txn::new().put("a", i.to_string())).await;
        assert_eq!(next(&mut watch).await, vec![put(revision, "a", &i.to_string())]);
    }
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_watch_ends_with_its_store(#[case] kind: Kind) {
    let subject = kind.make();
    let mut watch = subject.store.watch("", 0).await.unwrap();
    let waiting = tokio::spawn(async move { watch.next().await.is_none() });
    tokio::task::yield_now().await;
    drop(subject);
    assert!(soon(waiting).await.unwrap());
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_make_one_order_for_every_watch(#[case] kind: Kind) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 60;
    let subject = kind.make();
    let store = subject.store.clone();
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0..EACH {
                let txn = Txn::new()
                    .put(format!("w{writer}/x"), i.to_string())
                    .put("shared", format!("{writer}.{i}"));
                let txn = if i % 5 == 4 {
                    txn.delete_prefix(format!("w{writer}/y"))
                } else {
                    txn.put(format!("w{writer}/y{i}"), "")
                };
                commit(&*store, txn).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    // Watches that begin at some moment in the middle, from the beginning or from what a range showed.
    let mut watchers = Vec::new();
    for n in 0..6 {
        let store = store.clone();
        watchers.push(tokio::spawn(async move {
            let range = store.range("").await.unwrap();
            let mut state: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let mut at = 0;
            if n % 2 == 0 {
                state = range.entries.into_iter().map(|e| (e.key, e.value)).collect();
                at = range.revision;
            }
            let mut watch = store.watch("", at).await.unwrap();
            while at < WRITERS * EACH {
                let batch = next(&mut watch).await;
                assert!(batch.iter().all(|event| event.revision == at + 1), "after {at}: {batch:?}");
                at += 1;
                for event in batch {
                    apply(&mut state, event);
                }
            }
            state
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let range = store.range("").await.unwrap();
    assert_eq!(range.revision, WRITERS * EACH);
    let expected: BTreeMap<_, _> = range.entries.into_iter().map(|e| (e.key, e.value)).collect();
    for watcher in watchers {
        assert_eq!(soon(watcher).await.unwrap(), expected);
    }
}

fn apply(state: &mut BTreeMap<String, Vec<u8>>, event: Event) {
    match event.value {
        Some(value) => _ = state.insert(event.key, value),
        None => assert!(state.remove(&event.key).is_some(), "deleted twice: {}", event.key),
    }
}
