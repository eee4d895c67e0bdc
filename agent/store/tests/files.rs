//! Database files that were closed, damaged, newer or someone else's: opened whole, or refused and left as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rstest::rstest;
use stoker_store::{Embedded, Journal, LeaseId, Options, Store, StoreError, Txn};
use tempfile::TempDir;

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum File {
    Model,
    Journal,
}

impl File {
    fn fixture(self) -> PathBuf {
        let name = match self {
            Self::Model => "model-1.db",
            Self::Journal => "journal-1.db",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// A copy of the fixture to be mistreated.
    fn copy(self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        fs::copy(self.fixture(), &path).unwrap();
        (dir, path)
    }

    fn open(self, path: &Path) -> Result<(), StoreError> {
        match self {
            Self::Model => Embedded::open(path).map(drop),
            Self::Journal => Journal::open(path).map(drop),
        }
    }

    /// Opens and reads everything.
    fn read(self, path: &Path) -> Result<String, StoreError> {
        if self == Self::Journal {
            return Ok(format!("{:?}", Journal::open(path)?.range("")?));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = Embedded::open(path)?;
            let range = store.range("").await?;
            let mut watch = store.watch("", 0).await?;
            let mut events = Vec::new();
            for _ in 0..range.revision {
                events.push(watch.next().await.expect("the store is open")?);
            }
            Ok(format!("{range:?} {events:?}"))
        })
    }
}

/// Writes the fixtures of the current format. Run once per format, before it is released:
/// `cargo test -p stoker-store --test files -- --ignored`
#[tokio::test]
#[ignore = "makes the fixtures; a released one is never made again"]
async fn make_the_fixtures() {
    for kind in [File::Model, File::Journal] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        if kind == File::Journal {
            let journal = Journal::open(&path).unwrap();
            journal.put("unit/a-0", b"{\"applied\":7}").unwrap();
            journal.apply(&[("unit/b-0".into(), vec![0; 6000]), ("unit/b-1".into(), vec![])], &[]).unwrap();
            journal.delete("unit/b-1").unwrap();
        } else {
            let store = Embedded::open(&path).unwrap();
            let lease = store.grant_lease(Duration::from_secs(30)).await.unwrap();
            let first = Txn::new().put("/m/default/app/a", "{}").put("/m/default/app/b", vec![b'b'; 6000]);
            let _ = store.commit(first).await.unwrap();
            let _ = store.commit(Txn::new().put_leased("/m/default/host/h", "up", lease)).await.unwrap();
            let _ = store
                .commit(Txn::new().put("/m/default/app/a", "{\"v\":2}").put("/m/gone", ""))
                .await
                .unwrap();
            let _ = store.commit(Txn::new().delete_prefix("/m/gone")).await.unwrap();
        }
        let fixture = kind.fixture();
        assert!(!fixture.exists(), "{} is released", fixture.display());
        fs::copy(&path, fixture).unwrap();
    }
}

#[tokio::test]
async fn a_model_of_format_1_opens() {
    let (_dir, path) = File::Model.copy();
    let store = Embedded::open(&path).unwrap();
    let range = store.range("/m/default/").await.unwrap();
    let found: Vec<_> = range.entries.iter().map(|e| (e.key.as_str(), e.created, e.modified)).collect();
    assert_eq!(found, [("/m/default/app/a", 1, 3), ("/m/default/app/b", 1, 1), ("/m/default/host/h", 2, 2)]);
    assert_eq!(range.revision, 4);
    let mut watch = store.watch("/m/gone", 0).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap()[0].value, Some(vec![]));
    assert_eq!(watch.next().await.unwrap().unwrap()[0].value, None);
    store.keep_alive(LeaseId(1)).await.unwrap();
    store.revoke(LeaseId(1)).await.unwrap();
    assert!(store.get("/m/default/host/h").await.unwrap().is_none());
    assert_eq!(store.grant_lease(Duration::from_secs(9)).await.unwrap(), LeaseId(2));
}

#[test]
fn a_journal_of_format_1_opens() {
    let (_dir, path) = File::Journal.copy();
    let journal = Journal::open(&path).unwrap();
    let pairs = journal.range("unit/").unwrap();
    assert_eq!(pairs, [("unit/a-0".into(), b"{\"applied\":7}".to_vec()), ("unit/b-0".into(), vec![0; 6000])]);
}

#[tokio::test]
async fn a_reopened_store_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.db");
    let store = Embedded::open(&path).unwrap();
    let lease = store.grant_lease(Duration::from_millis(200)).await.unwrap();
    let _ = store.commit(Txn::new().put("a", "1").put_leased("l", "1", lease)).await.unwrap();
    let _ = store.commit(Txn::new().put("a", "2")).await.unwrap();
    let before = store.range("").await.unwrap();
    drop(store);

    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.range("").await.unwrap(), before);
    let mut watch = store.watch("", 1).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap()[0].value.as_deref(), Some(&b"2"[..]));
    let ended =
        tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("the lease still ends");
    let ended = ended.unwrap().unwrap();
    assert_eq!((ended[0].revision, ended[0].key.as_str(), ended[0].value.as_ref()), (3, "l", None));
    assert!(store.grant_lease(Duration::from_secs(9)).await.unwrap() > lease);
}

/// What can happen to the bytes of a file, and its name.
type Harm = (&'static str, fn(&mut Vec<u8>));

const HARMS: [Harm; 14] = [
    ("empty", |bytes| bytes.clear()),
    ("one byte", |bytes| bytes.truncate(1)),
    ("only the header", |bytes| bytes.truncate(100)),
    ("half of the file", |bytes| bytes.truncate(bytes.len() / 2)),
    ("without the last page", |bytes| bytes.truncate(bytes.len() - 4096)),
    ("without the last byte", |bytes| bytes.truncate(bytes.len() - 1)),
    ("zeros", |bytes| bytes.fill(0)),
    ("a zero page", |bytes| bytes[4096..8192].fill(0)),
    ("a zero header", |bytes| bytes[..100].fill(0)),
    ("the count of free pages", |bytes| bytes[39] ^= 5),
    ("an archive", |bytes| bytes[..16].copy_from_slice(b"PK\x03\x04 an archive!")),
    ("text", |bytes| *bytes = b"hello\n".repeat(2000)),
    ("a tail", |bytes| bytes.extend([7; 4096])),
    ("a short tail", |bytes| bytes.push(0)),
];

#[rstest]
#[case(File::Model)]
#[case(File::Journal)]
fn a_damaged_file_is_refused_and_left_alone(#[case] kind: File) {
    for (name, harm) in HARMS {
        let (_dir, path) = kind.copy();
        let mut bytes = fs::read(&path).unwrap();
        harm(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        for _ in 0..2 {
            let error = kind.open(&path).expect_err(name);
            assert!(matches!(error, StoreError::Corrupt { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains("test.db") && error.hint().is_some(), "{error}");
            assert!(fs::read(&path).unwrap() == bytes, "{name}: the file was changed");
        }
    }
}

/// Changes that leave a perfect SQLite database.
#[rstest]
#[case(File::Model, "DELETE FROM entries WHERE key = '/m/default/app/a'")]
#[case(File::Model, "DELETE FROM history WHERE revision = 4")]
#[case(File::Model, "DELETE FROM leases")]
#[case(File::Model, "UPDATE leases SET ttl_ms = 1")]
#[case(File::Model, "UPDATE meta SET revision = 3")]
#[case(File::Model, "DELETE FROM meta")]
#[case(File::Model, "UPDATE meta SET last_lease = 0")]
#[case(File::Model, "UPDATE meta SET compacted = 2")]
#[case(File::Model, "UPDATE entries SET value = x'00' WHERE key = '/m/default/app/a'")]
#[case(File::Model, "UPDATE entries SET lease = NULL")]
#[case(File::Model, "DROP TABLE history")]
#[case(File::Model, "PRAGMA user_version = 0")]
#[case(File::Journal, "DELETE FROM pairs WHERE key = 'unit/a-0'")]
#[case(File::Journal, "UPDATE pairs SET value = x'00' WHERE key = 'unit/a-0'")]
#[case(File::Journal, "DELETE FROM total")]
fn rows_that_contradict_each_other_are_refused(#[case] kind: File, #[case] sql: &str) {
    let (_dir, path) = kind.copy();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch(sql).unwrap();
    other.close().unwrap();
    let error = kind.open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[rstest]
#[case(File::Model)]
#[case(File::Journal)]
fn a_newer_format_is_refused_and_left_alone(#[case] kind: File) {
    let (_dir, path) = kind.copy();
    let mut bytes = fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&7_u32.to_be_bytes()); // user_version, by SQLite's file format
    fs::write(&path, &bytes).unwrap();
    let error = kind.open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, known: 1, .. }), "{error:?}");
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn one_kind_is_not_taken_for_the_other() {
    for (kind, other) in [(File::Model, File::Journal), (File::Journal, File::Model)] {
        let (_dir, path) = other.copy();
        let error = kind.open(&path).unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("but not a")),
            "{error:?}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    drop(other);
    let bytes = fs::read(&path).unwrap();
    assert!(matches!(File::Model.open(&path), Err(StoreError::Corrupt { .. })));
    assert!(fs::read(&path).unwrap() == bytes, "another program's database was changed");
}

#[rstest]
#[case(File::Model)]
#[case(File::Journal)]
fn a_place_where_there_can_be_no_file_is_an_error(#[case] kind: File) {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(kind.open(dir.path()), Err(StoreError::Backend { .. })));
    assert!(matches!(
        kind.open(&dir.path().join("no/such.db")),
        Err(StoreError::Backend { verb: "create", .. })
    ));
    // The database is gone, its log is not: a new one would swallow the log of the old.
    fs::write(dir.path().join("test.db-wal"), "x").unwrap();
    let error = kind.open(&dir.path().join("test.db")).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 1, "nothing was made");
}

/// Every single flipped bit is found, or lies where nothing is stored.
#[rstest]
#[case(File::Model)]
#[case(File::Journal)]
fn a_flipped_bit_never_changes_an_answer(#[case] kind: File) {
    let (_dir, path) = kind.copy();
    let (clean, answer) = (fs::read(&path).unwrap(), kind.read(&path).unwrap());
    let (mut refused, mut at) = (0, 0x2545_F491_4F6C_DD1D_u64);
    const FLIPS: usize = 600;
    for _ in 0..FLIPS {
        at ^= at << 13;
        at ^= at >> 7;
        at ^= at << 17;
        let bit = (at % (clean.len() as u64 * 8)) as usize;
        let mut bytes = clean.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        for companion in ["test.db-wal", "test.db-shm"] {
            let _ = fs::remove_file(path.with_file_name(companion));
        }
        match kind.read(&path) {
            Ok(read) => assert!(read == answer, "bit {bit} changed the answer to {read}"),
            Err(StoreError::Corrupt { .. } | StoreError::Newer { .. }) => refused += 1,
            Err(other) => panic!("bit {bit}: {other:?}"),
        }
    }
    assert!(refused > FLIPS / 20, "only {refused} were found: are they looked for?");
}

#[tokio::test]
async fn a_locked_database_is_an_error_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.db");
    let options = Options { busy_timeout: Duration::from_millis(20), ..Options::default() };
    let store = Embedded::open_with(&path, options).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(Txn::new().put("a", "1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    assert!(store.range("").await.unwrap().entries.is_empty(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    let _ = store.commit(Txn::new().put("a", "1")).await.unwrap();
    drop(store);

    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let error = Embedded::open_with(&path, options).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
}
