//! Limits, and how much history is kept.

use rstest::rstest;
use stoker_store::{HistoryBound, MAX_OPS, MAX_VALUE, StoreError, Txn};

use crate::subject::{Kind, commit, next, put, soon, up_to};

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn what_exceeds_a_limit_is_refused_whole(#[case] kind: Kind) {
    let subject = kind.make();
    let store = &*subject.store;
    let many = |n: usize| (0..n).fold(Txn::new(), |txn, i| txn.put(format!("k{i}"), "v"));

    let error = store.commit(Txn::new().put("a", "1").put("b", vec![0; MAX_VALUE + 1])).await.unwrap_err();
    let StoreError::TooLarge { key, size, limit } = error else { panic!("{error:?}") };
    assert_eq!((key.as_str(), size, limit), ("b", 262_145, 262_144));

    let error = store.commit(many(MAX_OPS + 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyOps { count: 101, limit: 100 }), "{error:?}");

    let error =
        store.commit((0..101).fold(Txn::new(), |txn, i| txn.absent(format!("k{i}")))).await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyCompares { count: 101, limit: 100 }), "{error:?}");

    let error = store.commit(Txn::new().put("a", "1").put("", "1")).await.unwrap_err();
    assert!(matches!(error, StoreError::BadKey { .. }), "{error:?}");

    let error = store.commit(Txn::new().put("a/b", "1").delete_prefix("a/")).await.unwrap_err();
    assert!(matches!(error, StoreError::WrittenTwice { .. }), "{error:?}");

    assert_eq!(store.revision().await.unwrap(), 0);
    assert!(store.range("").await.unwrap().entries.is_empty());

    assert_eq!(commit(store, many(MAX_OPS)).await, 1);
    let value: Vec<u8> = (0..MAX_VALUE).map(|i| (i % 251) as u8).collect();
    assert_eq!(commit(store, Txn::new().put("big", value.clone())).await, 2);
    assert_eq!(store.get("big").await.unwrap().unwrap().value, value);
    assert_eq!(next(&mut store.watch("big", 0).await.unwrap()).await[0].value, Some(value));
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn a_watch_from_before_the_history_is_refused(#[case] kind: Kind) {
    let subject = kind.make_with(HistoryBound { revisions: 10, bytes: 1 << 20 });
    let store = &*subject.store;
    let mut late = store.watch("", 0).await.unwrap();
    let mut narrow = store.watch("nothing/", 0).await.unwrap();
    for i in 1..=25 {
        commit(store, Txn::new().put("k", i.to_string())).await;
    }
    let Err(StoreError::Compacted { after: 14, compacted: 15 }) = store.watch("", 14).await else { panic!() };
    let mut watch = store.watch("", 15).await.unwrap();
    let batches = up_to(&mut watch, 25).await;
    assert_eq!(batches, (16..=25).map(|i| vec![put(i, "k", &i.to_string())]).collect::<Vec<_>>());

    for watch in [&mut late, &mut narrow] {
        let fell_behind = soon(watch.next()).await.unwrap().unwrap_err();
        assert!(matches!(fell_behind, StoreError::Compacted { after: 0, compacted: 15 }), "{fell_behind:?}");
        assert!(soon(watch.next()).await.is_none(), "an error is the end");
    }
    let Err(StoreError::Ahead { after: 26, revision: 25 }) = store.watch("", 26).await else { panic!() };
}

#[rstest]
#[case::embedded(Kind::Embedded)]
#[case::memory(Kind::Memory)]
#[tokio::test]
async fn large_values_shorten_the_history_but_the_newest_revision_stays(#[case] kind: Kind) {
    let subject = kind.make_with(HistoryBound { revisions: 100, bytes: 5000 });
    let store = &*subject.store;
    for _ in 0..5 {
        commit(store, Txn::new().put("k", vec![1; 2000])).await;
    }
    assert!(matches!(store.watch("", 2).await, Err(StoreError::Compacted { compacted: 3, .. })));
    commit(store, Txn::new().put("k", vec![2; 9000])).await;
    assert!(matches!(store.watch("", 4).await, Err(StoreError::Compacted { compacted: 5, .. })));
    assert_eq!(next(&mut store.watch("", 5).await.unwrap()).await[0].value, Some(vec![2; 9000]));
}
