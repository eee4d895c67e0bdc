//! `identify` and `storage`: what a unit's data folders hold, and HDFS's one and only format. Owns the rule when it may be formatted:
//! never over anything, never twice, never because a folder is missing.
//!
//! Three things speak against a format: the application's memory (then `--expect` comes instead of `--format`), the
//! record that this program leaves in the NameNode's folder and that is kept with the data, and the data themselves.
//! What a person must decide is told as a result with `problem`, and tried again until it is gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use stoker_charm::serde_json::{self, Value, json};

use super::format::{Format, sweep, sync};
use super::version_file::Current;
use super::{Args, done, later};

/// The record's name. It outlives the application: it is part of the kept data.
pub(crate) const RECORD: &str = "stoker-hdfs.json";
const LOCK: &str = ".stoker-storage.lock";
const KNOWN: [&str; 8] = ["name", "data", "format", "expect", "nameservice", "java", "classpath", "option"];

/// Something that only a person can decide.
struct Problem {
    kind: &'static str,
    says: String,
    fix: String,
}

/// What the folders say, or why nothing was done.
type Found = Result<Value, Problem>;

/// `storage`: formats where there is no filesystem and none is known of.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    outcome(args, true)
}

/// `identify`: what is there, and what it would become.
pub(crate) fn identify(args: &[String]) -> anyhow::Result<ExitCode> {
    outcome(args, false)
}

fn outcome(args: &[String], may_format: bool) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    match look(&args, may_format)? {
        Ok(result) => done(&result),
        Err(problem) => {
            later(&json!({"problem": problem.kind, "says": problem.says, "fix": problem.fix}), &problem.says)
        }
    }
}

fn look(args: &Args, may_format: bool) -> anyhow::Result<Found> {
    let volumes = match volumes(args) {
        Ok(volumes) => volumes,
        Err(problem) => return Ok(Err(problem)),
    };
    let mut result = serde_json::Map::new();
    let lowest = volumes.iter().filter_map(|(_, current)| current.layout).min();
    result.insert("layout-datanode".into(), json!(lowest));
    let mut cluster = args.get("expect").map(str::to_owned);
    if args.get("name").is_some() {
        match namenode(args, &volumes, may_format)? {
            Ok(found) => {
                cluster = found["cluster-id"].as_str().map(str::to_owned);
                result.extend(found.as_object().cloned().unwrap_or_default());
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    if let (Some(cluster), Some((folder, other))) = (&cluster, stranger(&volumes, cluster.as_deref())) {
        return Ok(Err(Problem {
            kind: "other-cluster",
            says: format!("{} holds blocks of cluster {other}, this is {cluster}", folder.display()),
            fix: format!("move {} away, or attach the metadata that belong to it", folder.display()),
        }));
    }
    Ok(Ok(Value::Object(result)))
}

type Volume = (PathBuf, Current);

fn volumes(args: &Args) -> Result<Vec<Volume>, Problem> {
    let mut out = Vec::new();
    for folder in args.all("data").map(PathBuf::from) {
        match Current::read(&folder) {
            Ok(current) => out.push((folder, current)),
            Err(error) => return Err(unreadable(&folder, &error)),
        }
    }
    Ok(out)
}

/// A volume with blocks of another cluster than this.
fn stranger<'a>(volumes: &'a [Volume], cluster: Option<&str>) -> Option<(&'a Path, &'a str)> {
    volumes.iter().find_map(|(folder, current)| {
        let other = current.cluster.as_deref().filter(|other| Some(*other) != cluster)?;
        Some((folder.as_path(), other))
    })
}

fn unreadable(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        kind: "unreadable",
        says: format!("cannot read {}: {error}", folder.display()),
        fix: format!("mend the disk or the permissions of {}", folder.display()),
    }
}

/// What the record says, from an earlier run that may be an earlier application's.
struct Record {
    cluster: String,
    nameservice: String,
}

impl Record {
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(RECORD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        let value: Value =
            serde_json::from_slice(&text).with_context(|| format!("cannot read `{}`", path.display()))?;
        let field = |name: &str| {
            value[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("`{}` has no {name}", path.display()))
        };
        Ok(Some(Self { cluster: field("cluster-id")?, nameservice: field("nameservice")? }))
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let value = json!({"format": 1, "cluster-id": self.cluster, "nameservice": self.nameservice});
        let (path, new) = (folder.join(RECORD), folder.join(format!("{RECORD}.new")));
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            writeln!(file, "{value}")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync(folder)
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))
    }
}

fn namenode(args: &Args, volumes: &[Volume], may_format: bool) -> anyhow::Result<Found> {
    let folder = Path::new(args.need("name")?);
    // Held to the end. Reading needs none: an image comes into place in one step.
    let _lock = if may_format {
        match File::create(folder.join(LOCK)) {
            Ok(lock) => lock
                .lock()
                .map(|()| Some(lock))
                .with_context(|| format!("cannot lock `{}`", folder.display()))?,
            Err(error) => return Ok(Err(unreadable(folder, &error))),
        }
    } else {
        None
    };
    let mut current = match Current::read(folder) {
        Ok(current) => current,
        Err(error) => return Ok(Err(unreadable(folder, &error))),
    };
    let record = Record::read(folder)?;
    let known = args.get("expect").map(str::to_owned).or_else(|| record.as_ref().map(|r| r.cluster.clone()));
    if !(current.image && current.cluster.is_some()) {
        if let Some(problem) = refusal(folder, &current, known.as_deref(), volumes) {
            return Ok(Err(problem));
        }
        if !may_format {
            return Ok(Ok(json!({
                "cluster-id": args.need("format")?, "nameservice": args.need("nameservice")?,
                "layout": null, "fresh": true,
            })));
        }
        if let Err(error) = format(args, folder) {
            return Ok(Err(Problem {
                kind: "format-failed",
                says: format!("{error:#}"),
                fix: "read the task's log; it is tried again".into(),
            }));
        }
        current = Current::read(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    }
    let Current { cluster: Some(cluster), layout, .. } = current else {
        anyhow::bail!("the NameNode's folder `{}` changed meanwhile", folder.display());
    };
    if let Some(known) = known.filter(|known| *known != cluster) {
        return Ok(Err(Problem {
            kind: "other-cluster",
            says: format!("{} holds cluster {cluster}, not {known}", folder.display()),
            fix: format!("put the data of cluster {known} back to {}", folder.display()),
        }));
    }
    let record = if let Some(record) = record {
        record
    } else {
        let record = Record { cluster: cluster.clone(), nameservice: args.need("nameservice")?.to_owned() };
        if may_format {
            record.write(folder)?;
        }
        record
    };
    if may_format {
        sweep(folder)?;
    }
    let formatted = args.get("format") == Some(cluster.as_str());
    Ok(Ok(json!({
        "cluster-id": cluster, "nameservice": record.nameservice, "layout": layout, "fresh": false,
        "formatted": formatted,
    })))
}

/// Why a folder without a whole image must not be formatted.
fn refusal(folder: &Path, current: &Current, known: Option<&str>, volumes: &[Volume]) -> Option<Problem> {
    let shown = folder.display();
    if let Some(known) = known {
        let half = if current.holds { "incomplete" } else { "missing" };
        return Some(Problem {
            kind: "missing",
            says: format!("data of cluster {known} is {half} in {shown}, refusing to format"),
            fix: format!(
                "mount or restore the NameNode's data at {shown}; a checkpoint has a copy of the image"
            ),
        });
    }
    if current.edits || (current.holds && current.cluster.is_none()) {
        return Some(Problem {
            kind: "damaged",
            says: format!("{shown} holds metadata without an image, refusing to format"),
            fix: format!("restore the image in {shown}/current, or move that folder away"),
        });
    }
    // A VERSION and nothing else is an interrupted format, and nothing known speaks against finishing it.
    stranger(volumes, None).map(|(volume, other)| Problem {
        kind: "other-cluster",
        says: format!(
            "{} holds blocks of cluster {other}, whose metadata are not in {shown}",
            volume.display()
        ),
        fix: format!("restore the metadata to {shown}, or move {} away", volume.display()),
    })
}

fn format(args: &Args, folder: &Path) -> anyhow::Result<()> {
    let cluster = args.need("format")?;
    let (java, classpath) = (args.need("java")?, args.need("classpath")?);
    Format { folder, cluster, java, options: args.all("option").collect(), classpath }.run()
}
