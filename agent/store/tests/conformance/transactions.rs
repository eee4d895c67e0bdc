//! Compares, revisions, and snapshots.

use std::sync::Arc;

use rstest::rstest;
use stoker_store::{Committed, Store, Txn};

use crate::subject::{Kind, commit, deleted, put, soon, text, up_to};

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn all_compares_must_hold(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let first = commit(store, Txn::new().absent("a").put("a", "1")).await;
    let second = commit(store, Txn::new().exists("a").modified("a", first).absent("b").put("a", "2")).await;
    let refused = [
        Txn::new().absent("a"),
        Txn::new().exists("b"),
        Txn::new().modified("a", first),
        Txn::new().modified("b", first),
        Txn::new().modified("b", 0),
        Txn::new().exists("a").absent("b").modified("a", second + 1),
    ];
    for compares in refused {
        let txn = compares.clone().put("a", "wrong").put("b", "wrong").delete_prefix("c");
        assert_eq!(store.commit(txn).await.unwrap(), Committed::No, "{compares:?}");
        let range = store.range("").await.unwrap();
        assert_eq!((range.entries.len(), range.revision), (1, second), "{compares:?}");
    }
    assert_eq!(text(store, "a").await.as_deref(), Some("2"));
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn compares_see_the_store_before_the_operations(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let revision = commit(store, Txn::new().put("a", "1")).await;
    commit(store, Txn::new().put("b", "2").delete("a").modified("a", revision).absent("b")).await;
    assert_eq!((text(store, "a").await, text(store, "b").await.as_deref()), (None, Some("2")));
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn each_change_is_one_revision(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    assert_eq!(store.revision().await.unwrap(), 0);
    assert_eq!(commit(store, Txn::new().put("a", "1").put("b", "1")).await, 1);
    assert_eq!(commit(store, Txn::new().put("a", "1")).await, 2, "the same value again");
    assert_eq!(commit(store, Txn::new()).await, 2, "nothing to do");
    assert_eq!(
        commit(store, Txn::new().exists("a").delete("x").delete_prefix("x/")).await,
        2,
        "nothing there"
    );
    assert_eq!(commit(store, Txn::new().delete("a")).await, 3);
    assert_eq!(commit(store, Txn::new().put("a", "2")).await, 4);
    assert_eq!(store.revision().await.unwrap(), 4);

    let of = async |key| store.get(key).await.unwrap().map(|entry| (entry.created, entry.modified));
    assert_eq!(of("a").await, Some((4, 4)));
    assert_eq!(of("b").await, Some((1, 1)));
    assert_eq!(of("c").await, None);
    commit(store, Txn::new().put("b", "")).await;
    assert_eq!(of("b").await, Some((1, 5)));
    assert_eq!(text(store, "b").await.as_deref(), Some(""), "an empty value is a value");
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_range_is_sorted_and_ends_with_its_prefix(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let keys = ["a", "a/", "a/b", "a/b/c", "a/é", "a/\u{10FFFF}x", "a0", "A/b", "b", "a%_"];
    let txn = keys.iter().fold(Txn::new(), |txn, key| txn.put(*key, *key));
    commit(store, txn).await;
    for prefix in ["", "a", "a/", "a/b", "a/\u{10FFFF}", "a%", "zzz"] {
        let mut expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let range = store.range(prefix).await.unwrap();
        let found: Vec<&str> = range.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!((found, range.revision), (expected, 1), "{prefix}");
        assert!(range.entries.iter().all(|entry| entry.value == entry.key.as_bytes()));
    }
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_deleted_prefix_is_one_operation_and_one_event_per_key(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let key = |i: usize| format!("many/{i:03}");
    commit(store, Txn::new().put("many", "stays")).await;
    for some in [0..100, 100..150] {
        commit(store, some.fold(Txn::new(), |txn, i| txn.put(key(i), "x"))).await;
    }
    let mut watch = store.watch("", 3).await.unwrap();
    let revision = commit(store, Txn::new().delete_prefix("many/").delete("many/007").put("z", "1")).await;
    let batches = up_to(&mut watch, revision).await;
    let mut expected: Vec<_> = (0..150).map(|i| deleted(revision, &key(i))).collect();
    expected.push(put(revision, "z", "1"));
    assert_eq!(batches, vec![expected]);
    assert_eq!(store.range("many").await.unwrap().entries.len(), 1);
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_range_never_shows_half_a_transaction(#[case] kind: Kind) {
    let subject = kind.make();
    let store = subject.store.clone();
    commit(&*store, Txn::new().put("n/a", "0").put("n/b", "0").put("n/c", "0")).await;
    let writers: Vec<_> = (0..3).map(|_| tokio::spawn(count_up(store.clone(), 40))).collect();
    let mut seen = 0;
    while seen < 120 {
        let range = store.range("n/").await.unwrap();
        let values: Vec<u64> =
            range.entries.iter().map(|e| String::from_utf8_lossy(&e.value).parse().unwrap()).collect();
        assert_eq!(values, vec![values[0]; 3]);
        assert!(range.entries.iter().all(|e| e.modified == range.revision), "nothing else is written");
        assert!(values[0] >= seen, "a later range shows an earlier state");
        seen = values[0];
        tokio::task::yield_now().await;
    }
    for writer in writers {
        soon(writer).await.unwrap();
    }
    assert_eq!(store.revision().await.unwrap(), 121, "every increment counted once");
}

/// Adds one to three keys, `times` times, by compare and swap.
async fn count_up(store: Arc<dyn Store>, times: u64) {
    let mut done = 0;
    while done < times {
        let entry = store.get("n/a").await.unwrap().unwrap();
        let next = (String::from_utf8(entry.value).unwrap().parse::<u64>().unwrap() + 1).to_string();
        let txn = Txn::new().modified("n/a", entry.modified);
        let txn = ["n/a", "n/b", "n/c"].into_iter().fold(txn, |txn, key| txn.put(key, next.clone()));
        done += u64::from(store.commit(txn).await.unwrap() != Committed::No);
        tokio::task::yield_now().await;
    }
}
