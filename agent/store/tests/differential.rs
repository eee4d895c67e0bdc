//! Random histories give the same answers in memory and in SQLite, also across reopening the file.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use stoker_store::{
    Compare, Embedded, Event, HistoryBound, LeaseId, Memory, Op, Options, Revision, Store, Txn,
};

const KEYS: [&str; 7] = ["a", "a/", "a/b", "a/b/c", "a0", "é/x", "z"];
const PREFIXES: [&str; 5] = ["", "a", "a/", "é", "none"];
const LONG: Duration = Duration::from_hours(1);
const BOUND: HistoryBound = HistoryBound { revisions: 6, bytes: 200 };

#[derive(Debug, Clone)]
enum Step {
    Commit(Txn),
    Grant,
    Revoke(LeaseId),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(String::from)
}

/// Leases are numbered from 1; some of these exist, some are over, some are yet to come.
fn lease() -> impl Strategy<Value = LeaseId> {
    (1..5_i64).prop_map(LeaseId)
}

fn txn() -> impl Strategy<Value = Txn> {
    let compare = prop_oneof![
        key().prop_map(Compare::Absent),
        key().prop_map(Compare::Exists),
        (key(), 0..20_u64).prop_map(|(key, revision)| Compare::Modified(key, revision)),
    ];
    let value = prop::collection::vec(any::<u8>(), 0..40);
    let op = prop_oneof![
        4 => (key(), value, prop::option::weighted(0.2, lease())).prop_map(|(key, value, lease)| Op::Put { key, value, lease }),
        2 => key().prop_map(|key| Op::Delete { key }),
        1 => prop::sample::select(&PREFIXES[..]).prop_map(|prefix| Op::DeletePrefix { prefix: prefix.into() }),
    ];
    (prop::collection::vec(compare, 0..2), prop::collection::vec(op, 0..4))
        .prop_map(|(compares, ops)| Txn { compares, ops })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => txn().prop_map(Step::Commit),
        1 => Just(Step::Grant),
        1 => lease().prop_map(Step::Revoke),
        1 => Just(Step::Reopen),
    ]
}

fn open(path: &Path) -> Embedded {
    Embedded::open_with(path, Options { history: BOUND, ..Options::default() }).unwrap()
}

/// What a step answered, without what only a file has (a path in an error).
async fn run(store: &dyn Store, step: &Step) -> String {
    match step {
        Step::Commit(txn) => format!("{:?}", store.commit(txn.clone()).await),
        Step::Grant => format!("{:?}", store.grant_lease(LONG).await),
        Step::Revoke(id) => format!("{:?}", store.revoke(*id).await),
        Step::Reopen => String::new(),
    }
}

/// Everything that can be asked.
async fn all(store: &dyn Store) -> String {
    let revision = store.revision().await.unwrap();
    let mut answer = format!("{revision}\n");
    for prefix in PREFIXES {
        _ = writeln!(answer, "{prefix}: {:?}", store.range(prefix).await.unwrap());
    }
    for key in KEYS {
        _ = writeln!(answer, "{key}: {:?}", store.get(key).await.unwrap());
    }
    for after in 0..=revision + 1 {
        _ = writeln!(answer, "after {after}: {:?}", events(store, after, revision).await);
    }
    answer
}

async fn events(store: &dyn Store, after: Revision, last: Revision) -> Result<Vec<Vec<Event>>, String> {
    let mut watch = store.watch("", after).await.map_err(|e| e.to_string())?;
    let mut batches = Vec::new();
    for _ in after..last {
        batches.push(watch.next().await.ok_or("ended")?.map_err(|e| e.to_string())?);
    }
    Ok(batches)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn memory_and_file_agree(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.db");
            let memory = Memory::with_history(BOUND);
            let mut file = open(&path);
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(file);
                    file = open(&path);
                }
                prop_assert_eq!(run(&memory, step).await, run(&file, step).await, "{:?}", step);
                prop_assert_eq!(all(&memory).await, all(&file).await, "after {:?}", step);
            }
            Ok(())
        })?;
    }
}
