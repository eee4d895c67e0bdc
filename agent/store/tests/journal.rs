//! The journal: a durable map, and its changes are whole.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use stoker_store::Journal;

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.db");
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.get("a").unwrap(), None);
    journal.put("a", b"1").unwrap();
    journal.put("a", b"2").unwrap();
    journal.put("b", b"").unwrap();
    journal.delete("never").unwrap();
    journal
        .apply(&[("c/1".into(), vec![0, 255]), ("c/2".into(), b"x".to_vec())], &["b".into(), "c/2".into()])
        .unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.get("a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(journal.get("b").unwrap(), None);
    assert_eq!(journal.range("c/").unwrap(), [("c/1".into(), vec![0, 255]), ("c/2".into(), b"x".to_vec())]);
    assert_eq!(journal.range("").unwrap().len(), 3);
}

#[test]
fn its_files_are_the_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("agent.db")).unwrap();
    journal.put("a", b"1").unwrap();
    let mut names = Vec::new();
    for file in dir.path().read_dir().unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{file:?}");
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["agent.db", "agent.db-shm", "agent.db-wal"], "and nothing else is left");
}

#[test]
fn threads_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(&dir.path().join("agent.db")).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = journal.clone();
            scope.spawn(move || {
                for i in 0..25_u8 {
                    let pair = |name: &str| (format!("{thread}/{name}"), vec![i]);
                    journal.apply(&[pair("a"), pair("b")], &[]).unwrap();
                    let found = journal.range(&format!("{thread}/")).unwrap();
                    assert_eq!(found, [pair("a"), pair("b")]);
                }
            });
        }
    });
    assert_eq!(journal.range("").unwrap().len(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn it_is_a_map(changes in prop::collection::vec(
        (prop::collection::vec(("[ab]/?[cé]?", prop::collection::vec(any::<u8>(), 0..20)), 0..4),
         prop::collection::vec("[ab]/?[cé]?", 0..3)), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.db");
        let mut map = BTreeMap::new();
        for (puts, deletes) in changes {
            Journal::open(&path).unwrap().apply(&puts, &deletes).unwrap();
            for key in &deletes {
                map.remove(key);
            }
            map.extend(puts);
            let journal = Journal::open(&path).unwrap();
            for prefix in ["", "a", "a/", "b/é", "c"] {
                let expected: Vec<_> =
                    map.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(journal.range(prefix).unwrap(), expected);
            }
        }
    }
}
