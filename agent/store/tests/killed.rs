//! A writer killed at any moment loses nothing it was told is committed, and leaves no half of anything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test starts itself as the writer that it kills")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use stoker_store::{Committed, Embedded, HistoryBound, Journal, Options, Store, Txn};

const FOLDER: &str = "STOKER_STORE_KILLED_IN";

fn open(dir: &Path) -> (Embedded, Journal) {
    let history = HistoryBound { revisions: 50, bytes: 1 << 20 };
    let store =
        Embedded::open_with(&dir.join("model.db"), Options { history, ..Options::default() }).unwrap();
    (store, Journal::open(&dir.join("agent.db")).unwrap())
}

/// Not a test by itself: it writes into the folder named in its environment until it is killed.
#[tokio::test]
#[ignore = "the writer that the other test starts and kills"]
async fn writer() {
    let dir = std::env::var_os(FOLDER).expect("the folder to write in");
    let (store, journal) = open(Path::new(&dir));
    let mut out = std::io::stdout();
    for n in store.revision().await.unwrap() + 1.. {
        let value = n.to_string().repeat(200);
        let txn =
            (0..8).fold(Txn::new().delete_prefix("old/"), |txn, i| txn.put(format!("k/{i}"), value.clone()));
        assert_eq!(store.commit(txn.put(format!("n/{}", n % 7), "")).await.unwrap(), Committed::Yes(n));
        journal.apply(&[("a".into(), value.clone().into()), ("b".into(), value.into())], &[]).unwrap();
        writeln!(out, "done {n}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn what_was_committed_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = 0;
    for round in 0..12_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let done =
            |line: std::io::Result<String>| line.unwrap().strip_prefix("done ").map(|n| n.parse().unwrap());
        let before = told;
        for n in lines.by_ref().filter_map(done).take(1 + round * 7 % 40) {
            told = n;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        told = lines.filter_map(done).last().unwrap_or(told);
        assert!(told > before, "the writer wrote nothing");

        let (store, journal) = open(dir.path());
        let range = store.range("k/").await.unwrap();
        assert!([told, told + 1].contains(&range.revision), "told {told}, found {}", range.revision);
        let value = range.revision.to_string().repeat(200).into_bytes();
        assert_eq!(range.entries.len(), 8);
        assert!(range.entries.iter().all(|e| e.value == value && e.modified == range.revision));
        let begin = range.revision.saturating_sub(50);
        let mut watch = store.watch("", begin).await.unwrap();
        for revision in begin + 1..=range.revision {
            let batch = watch.next().await.unwrap().unwrap();
            assert!(batch.len() == 9 && batch.iter().all(|event| event.revision == revision));
        }
        let pairs = journal.range("").unwrap();
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs[0].1, pairs[1].1, "half a change in the journal");
        let journaled: Vec<_> =
            [told, told + 1].iter().map(|n| n.to_string().repeat(200).into_bytes()).collect();
        assert!(journaled.contains(&pairs[0].1), "told {told}");
    }
}
