//! Builds on their way to and from other hosts. Owns the hand-over between the connection and the thread that reads or
//! writes the builds, in bounded memory, and that the facts of what arrives are read here; must not know the stream.

use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use stoker_host::builds::Record;
use stoker_host::builds::transfer::{Have, Imported, Keeping, TransferError};
use stoker_model::ids::Digest;
use stoker_model::observation::Facts;
use tokio::sync::mpsc;

use super::{Steps, refused};
use crate::api::ProgressSink;
use crate::api::types::Build;
use crate::core::{Core, now, rfc3339};
use crate::problem::{Problem, chain, codes};

/// Pieces on their way between the connection and the builds.
const DEPTH: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 128 * 1024;

/// What a failed transfer is to a user.
fn failed(error: &TransferError) -> Problem {
    let problem = match error {
        TransferError::Build(error) => return refused(error),
        _ => Problem::new(codes::STREAM, chain(error)),
    };
    match error {
        TransferError::NoBase { base, .. } => problem.fix(format!(
            "import build {base} first, or export without --since (or --since a build that is here)"
        )),
        TransferError::Cut { .. } | TransferError::Read(_) => {
            problem.fix("import it again from the beginning: what was verified is passed over")
        }
        TransferError::Newer { .. } => problem.fix("install the stoker that exported it, or a newer one"),
        _ => problem.fix("export it again, and see that it is carried over whole"),
    }
}

/// Hands what is written to the connection, piece by piece.
struct Sending(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what the connection hands over.
struct Receiving {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Receiving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.piece.len());
        out[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// The two ends of a body that arrives: the connection puts pieces in, an import reads them.
pub(crate) fn arriving() -> (mpsc::Sender<io::Result<Bytes>>, Arriving) {
    let (sender, pieces) = mpsc::channel(DEPTH);
    (sender, Arriving(Receiving { pieces, piece: Bytes::new() }))
}

/// A body that arrives.
pub(crate) struct Arriving(Receiving);

impl Core {
    /// A build to export: the digest of one with a record or, in full, of any that is here.
    fn build_to_export(&self, text: &str) -> Result<Digest, Problem> {
        match (self.find_record(text), text.parse::<Digest>()) {
            (Ok(record), _) => Ok(record.digest),
            (Err(_), Ok(digest)) => {
                self.builds.manifest(&digest).map_err(|e| refused(&e))?;
                Ok(digest)
            }
            (Err(problem), Err(_)) => Err(problem),
        }
    }

    /// Writes a build as a stream; what cannot be sent at all is found out before the first piece.
    pub(crate) fn export_build(
        self: &Arc<Self>,
        digest: &str,
        since: Option<&str>,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, Problem> {
        let digest = self.build_to_export(digest)?;
        let base = since.map(|since| self.build_to_export(since)).transpose()?;
        let (sender, receiver) = mpsc::channel(DEPTH);
        let core = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let have = Have { base, ..Have::default() };
            let mut out = BufWriter::with_capacity(PIECE, Sending(sender.clone()));
            let sent = core.builds.export(&digest, &have, &mut out, &());
            let ended = sent.map_err(|error| chain(&error)).and_then(|sent| {
                out.flush().map_err(|error| error.to_string())?;
                Ok(sent)
            });
            match ended {
                Ok(sent) => tracing::info!(
                    build = %sent.digest, bytes = sent.stream_bytes, contents = sent.contents,
                    patches = sent.patches, "a build was exported"
                ),
                Err(error) => {
                    tracing::warn!(build = %digest, error, "an export was given up");
                    // The connection is broken off, so that nobody takes what was sent for all of it.
                    let _ = sender.blocking_send(Err(io::Error::other(error)));
                }
            }
        });
        Ok(receiver)
    }

    /// Takes a stream in, reads the facts of what it was, and records it.
    pub(crate) async fn import_build(
        self: &Arc<Self>,
        body: Arriving,
        charm: Option<&str>,
        progress: &ProgressSink,
    ) -> Result<Build, Problem> {
        let begun = Instant::now();
        let _hold = self.builds.hold("an import");
        let builds = Arc::clone(&self.builds);
        let steps = Steps(progress.clone(), "importing");
        let Arriving(mut from) = body;
        let imported =
            tokio::task::spawn_blocking(move || builds.import(&mut from, &Keeping::default(), &steps))
                .await
                .map_err(|e| Problem::internal("cannot import the build", &e))?
                .map_err(|e| failed(&e))?;
        if self.builds.record(&imported.digest).map_err(|e| refused(&e))?.is_none() {
            let charms = self.charms_for(charm).await?;
            let facts = self.workshop().facts(&imported.digest, &charms, "-").await?;
            self.record_import(&imported, &facts).await?;
        }
        let mut build = self.build(&imported.digest.to_string())?;
        build.new_bytes = Some(imported.new_bytes);
        build.seconds = Some(begun.elapsed().as_secs_f64());
        Ok(build)
    }

    /// What the sender says of a build is shown as that and nothing rests on it: neither its facts, which are read
    /// anew, nor its source, by which recipes find what they made, nor its archive.
    async fn record_import(&self, imported: &Imported, facts: &Facts) -> Result<(), Problem> {
        let facts = serde_json::to_value(facts).map_err(|e| Problem::internal("cannot write facts", &e))?;
        let source = imported.origin.as_ref().map_or("elsewhere", |origin| origin.source.as_str());
        if imported.origin.as_ref().is_some_and(|origin| !origin.facts.is_null() && origin.facts != facts) {
            tracing::warn!(build = %imported.digest, "the sender told other facts: those read here count");
        }
        let record = Record {
            digest: imported.digest.clone(),
            source: format!("import of {}", source.chars().take(400).collect::<String>()),
            archive: None,
            facts,
            files: imported.files,
            bytes: imported.bytes,
            added: rfc3339(now()),
        };
        let builds = Arc::clone(&self.builds);
        tokio::task::spawn_blocking(move || builds.put_record(&record))
            .await
            .map_err(|e| Problem::internal("cannot write the build's record", &e))?
            .map_err(|e| refused(&e))
    }
}
