//! Who asked for what. Changes are told by their own records, which have who and from where; all else that was asked
//! for (builds, the agent's end), what failed and what was refused is noted here, in a file of its own.
//!
//! Owns that file: its bound, and that a note is on the disk soon. Nobody waits for it: notes are handed to a task, so
//! that no request takes a flush longer. It must not decide what is noted.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{Core, find_app, lock, now, rfc3339};
use crate::api::audit::Event;
use crate::api::caller::Caller;
use crate::problem::Problem;

/// The file is put aside once it is so long; one that was put aside before goes then.
const MOST_BYTES: u64 = 1 << 20;
/// Notes that wait for the disk; more are left out, and how many is said in the log.
const WAITING: usize = 512;
/// How many refusals of one user are noted in a minute: nobody is to push others' notes out of the file.
const REFUSALS: u32 = 20;
const MINUTE: Duration = Duration::from_mins(1);
/// The longest command that is kept.
const LONGEST: usize = 1024;

enum Message {
    Note(Box<Event>),
    /// Answered once all before it is on the disk.
    Flush(oneshot::Sender<()>),
}

/// Where notes go.
pub(crate) struct Audit {
    sender: mpsc::Sender<Message>,
    path: PathBuf,
    refusals: Mutex<BTreeMap<u32, (Instant, u32)>>,
    /// Done, failed, refused.
    ended: [AtomicU64; 3],
}

impl Audit {
    /// Notes go to the file at `path` from now on.
    pub(super) fn start(path: &Path) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let file = path.to_owned();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, WAITING).await > 0 {
                let messages = std::mem::take(&mut batch);
                let file = file.clone();
                // A disk that hangs holds up notes, and nothing else.
                let _ = tokio::task::spawn_blocking(move || write(&file, messages)).await;
            }
        });
        Self { sender, path: path.to_owned(), refusals: Mutex::default(), ended: Default::default() }
    }

    /// Notes what was asked; `problem` is the code that it ended with.
    pub(crate) fn note(&self, caller: &Caller, what: &str, problem: Option<&str>) {
        let refused = problem == Some(crate::problem::codes::NOT_ALLOWED.id);
        if !caller.is_agent() {
            let at = if refused { 2 } else { usize::from(problem.is_some()) };
            self.ended[at].fetch_add(1, Ordering::Relaxed);
        }
        if refused && !self.is_told(caller.uid) {
            return;
        }
        let result = match problem {
            None => "done".to_owned(),
            Some(code) if refused => format!("refused {code}"),
            Some(code) => format!("failed {code}"),
        };
        let command: String = what.chars().take(LONGEST).collect();
        let event = Event { command, result, ..Event::at(now(), &caller.user, caller.origin().as_ref()) };
        if self.sender.try_send(Message::Note(Box::new(event))).is_err() {
            tracing::warn!("an event could not be noted: the disk is too slow");
        }
    }

    /// Whether one more refusal of this user is noted.
    fn is_told(&self, uid: u32) -> bool {
        let mut all = lock(&self.refusals);
        all.retain(|_, (begun, _)| begun.elapsed() < MINUTE);
        let (_, count) = all.entry(uid).or_insert_with(|| (Instant::now(), 0));
        *count += 1;
        *count <= REFUSALS
    }

    /// How many requests ended how since the agent started.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let of = |at: usize| self.ended[at].load(Ordering::Relaxed);
        [("done", of(0)), ("failed", of(1)), ("refused", of(2))].into()
    }

    /// Waits until all that was noted is on the disk.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// All that is kept, oldest first.
    async fn read(&self) -> Vec<Event> {
        self.flush().await;
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut all = kept(&aside(&path));
            all.extend(kept(&path));
            all
        })
        .await
        .unwrap_or_default()
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

/// The events of a file; a line that was cut off by an unclean stop is passed over.
pub(crate) fn kept(path: &Path) -> Vec<Event> {
    let text = std::fs::read(path).unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn write(path: &Path, messages: Vec<Message>) {
    let mut lines = Vec::new();
    let mut waiting = Vec::new();
    for message in messages {
        match message {
            Message::Note(event) => {
                // A new line first: whatever an unclean stop cut off does not take this one with it.
                lines.push(b'\n');
                lines.extend(serde_json::to_vec(&event).unwrap_or_default());
            }
            Message::Flush(done) => waiting.push(done),
        }
    }
    if let Err(error) = append(path, &lines) {
        tracing::warn!(%error, file = %path.display(), "cannot note who asked for what");
    }
    for done in waiting {
        let _ = done.send(());
    }
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if std::fs::metadata(path).is_ok_and(|found| found.len() >= MOST_BYTES) {
        std::fs::rename(path, aside(path))?;
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(lines)?;
    file.sync_data()
}

impl Core {
    /// What was asked since, oldest first, at most the newest `most`; with `app`, only changes that concern it.
    pub(crate) async fn audit_trail(
        &self,
        app: Option<&str>,
        since: Option<u64>,
        most: usize,
    ) -> Result<Vec<Event>, Problem> {
        let snapshot = self.snapshot();
        let named = |change: &stoker_model::record::Change| match app {
            Some(app) => change.apps.iter().any(|name| name == app),
            None => true,
        };
        let changes = snapshot.changes.values().filter(|change| named(change));
        let mut all: Vec<Event> = changes
            .map(|change| Event {
                change: Some(change.n),
                command: change.command.clone(),
                apps: change.apps.clone(),
                result: "done".to_owned(),
                ..Event::at(change.time, &change.by, change.origin.as_ref())
            })
            .collect();
        if let Some(app) = app.filter(|_| all.is_empty()) {
            // One that is gone has its events; one that never was has not.
            find_app(&snapshot, app, "show the events of")?;
        }
        if app.is_none() {
            all.extend(self.audit.read().await);
        }
        let since = since.map(rfc3339).unwrap_or_default();
        all.sort_by(|a, b| (&a.time, a.change).cmp(&(&b.time, b.change)));
        all.retain(|event| event.time >= since);
        all.drain(..all.len().saturating_sub(most));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_are_kept_in_order_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let audit = Audit::start(&path);
        let root = Caller::agent();
        audit.note(&root, "stoker builds add x", None);
        audit.note(&root, "stoker builds add y", Some("ST0005"));
        let all = audit.read().await;
        let says: Vec<_> = all.iter().map(|event| (event.command.as_str(), event.result.as_str())).collect();
        assert_eq!(says, [("stoker builds add x", "done"), ("stoker builds add y", "failed ST0005")]);
        // What an unclean stop left of a line hides no other.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"\n{\"time\": \"20")
            .unwrap();
        audit.note(&root, "after", None);
        assert_eq!(audit.read().await.last().unwrap().command, "after");
        // Put aside when it is long, and only one is.
        for round in 0..3 {
            let filler = format!("\n{}", " ".repeat(usize::try_from(MOST_BYTES).unwrap()));
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(filler.as_bytes()).unwrap();
            audit.note(&root, &format!("round {round}"), None);
            audit.flush().await;
        }
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2);
        assert_eq!(
            audit.read().await.iter().map(|e| e.command.clone()).collect::<Vec<_>>(),
            ["round 1", "round 2"]
        );
    }

    #[tokio::test]
    async fn a_flood_of_refusals_pushes_nothing_out() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::start(&folder.path().join("events.jsonl"));
        let stranger = Caller::from_peer(4_000_000_001, 1, None, crate::api::caller::Door::default());
        for _ in 0..1000 {
            audit.note(&stranger, "x", Some("ST0003"));
        }
        assert_eq!(audit.read().await.len(), REFUSALS as usize);
        audit.note(&stranger, &"long".repeat(LONGEST), None);
        assert_eq!(audit.read().await.last().unwrap().command.len(), LONGEST);
    }
}
