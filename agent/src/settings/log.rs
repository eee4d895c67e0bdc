//! The agent's log: one line an event, to standard error and to a file that is rotated, at a level that can change
//! while it runs. Owns the line's form, which `stoker debug-log` reads; must not decide what is worth a line.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The file is rotated at this size; one older file is kept.
const ROTATE_AT: u64 = 4 << 20;

/// Changes the level while the agent runs.
#[derive(Clone)]
pub(crate) struct LevelHandle(reload::Handle<LevelFilter, Registry>);

impl LevelHandle {
    /// From now on, events of this level and above.
    pub(crate) fn set(&self, level: Level) {
        // It fails only when the subscriber is gone, and then nothing logs.
        let _ = self.0.modify(|filter| *filter = LevelFilter::from_level(level));
    }
}

/// Starts the log of this process.
pub(crate) fn start(path: &Path, level: Level) -> io::Result<LevelHandle> {
    let file = LogFile::open(path.to_owned())?;
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let to_file = tracing_subscriber::fmt::layer().event_format(Line).with_ansi(false).with_writer(file);
    let to_stderr =
        tracing_subscriber::fmt::layer().event_format(Line).with_ansi(false).with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(to_file.and_then(to_stderr))
        .try_init()
        .map_err(io::Error::other)?;
    Ok(LevelHandle(handle))
}

/// `unit-web-0: 2026-01-31T12:00:00.123Z INFO stoker::unit message key=value`; `agent:` where an event has no
/// field `unit`.
struct Line;

#[derive(Default)]
struct Fields {
    unit: Option<String>,
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "unit" => {
                let text = format!("{value:?}");
                self.unit = Some(text.trim_matches('"').replace('/', "-"));
                Ok(())
            }
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match &fields.unit {
            Some(unit) => write!(to, "unit-{unit}: ")?,
            None => write!(to, "agent: ")?,
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
        let (meta, rest) = (event.metadata(), fields.rest);
        let text = format!("{}{rest}", fields.message).replace('\n', "\n    ");
        writeln!(to, "{now} {} {} {text}", meta.level(), meta.target())
    }
}

/// A file that is renamed to `NAME.1` and begun anew when it is large.
#[derive(Clone)]
struct LogFile(Arc<Mutex<Open>>);

struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Open { path, file, size }))))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open_file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open_file.size > ROTATE_AT {
            let mut old = open_file.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&open_file.path, old)?;
            open_file.file = open(&open_file.path)?;
            open_file.size = 0;
        }
        let written = open_file.file.write(bytes)?;
        open_file.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_unit_and_the_file_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.log");
        let mut file = LogFile::open(path.clone()).unwrap();
        let layer =
            tracing_subscriber::fmt::layer().event_format(Line).with_ansi(false).with_writer(file.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(unit = %"web/0", n = 3, "two\nlines");
            tracing::warn!("plain");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("unit-web-0: 2") && lines[0].contains("INFO"), "{text}");
        assert_eq!(lines[1], "    lines n=3");
        assert!(lines[2].starts_with("agent: ") && lines[2].ends_with(" plain"), "{text}");
        file.write_all(&vec![b'x'; ROTATE_AT as usize + 1]).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(std::fs::metadata(dir.path().join("agent.log.1")).unwrap().len() > ROTATE_AT);
    }
}
