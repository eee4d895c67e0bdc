//! Named steps that a test can stop the process at. Owns the names of this crate; must do nothing at all unless
//! the feature `failpoints` is on.

/// Every name that [`hit`] is called with in this crate: a test holds that each is reached.
pub const ALL: &[&str] = &[
    "builds.ingest.opened",
    "builds.ingest.blob-written",
    "builds.ingest.before-publish",
    "builds.ingest.half-published",
    "builds.ingest.published",
    "builds.ingest.before-sync",
    "builds.ingest.synced",
    "builds.ingest.settled",
    "builds.import.opened",
    "builds.import.content",
    "builds.import.kept",
    "builds.import.received",
    "builds.import.published",
    "builds.open.recovered",
    "builds.mend.path-mended",
    "builds.repair.put-aside",
    "builds.repair.published",
    "builds.repair.one-settled",
    "builds.gc.marked",
    "builds.gc.records-gone",
    "builds.gc.tree-gone",
    "builds.gc.half-moved",
    "builds.gc.moved",
    "builds.gc.removed",
    "builds.tree.half-linked",
    "builds.tree.before-rename",
    "builds.tree.renamed",
    "builds.derive.before-manifest",
    "builds.derive.after-manifest",
    "builds.record.before",
    "builds.record.after",
    "builds.remove.renamed",
    "fs.write.before-rename",
    "services.adopt",
    "services.start.before-spec",
    "services.start.after-spec",
    "services.start.spawned",
    "services.start.ready",
    "services.stop.signalled",
    "services.stop.confirmed",
    "services.forget.before",
    "services.forget.renamed",
];

/// Marks a step. With the feature on, `STOKER_FAILPOINT=NAME=abort` kills the process here as `kill -9` would
/// (`NAME=abort@3`: the third time), and each name is appended to the file `STOKER_FAILPOINT_LOG`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Marks a step. `STOKER_FAILPOINT=NAME=abort` kills the process here as `kill -9` would (`NAME=abort@3`: the
/// third time), and each name is appended to the file `STOKER_FAILPOINT_LOG`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AIM: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    if let Some(log) = std::env::var_os("STOKER_FAILPOINT_LOG")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(log)
    {
        // One write, so that lines of several threads stay whole.
        let _ = file.write_all(format!("{name}\n").as_bytes());
    }
    let aim = AIM.get_or_init(|| parse(&std::env::var("STOKER_FAILPOINT").ok()?));
    if let Some((aimed, count)) = aim
        && aimed == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(feature = "failpoints")]
fn parse(text: &str) -> Option<(String, u64)> {
    let (name, action) = text.split_once('=')?;
    let count = match action.strip_prefix("abort")? {
        "" => 1,
        rest => rest.strip_prefix('@')?.parse().ok()?,
    };
    Some((name.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn names_are_listed_once_and_used_once() {
        let mut sorted = ALL.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALL.len());
    }
}
