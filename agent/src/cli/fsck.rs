//! `stoker fsck`: looks by itself, asks no agent and changes nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use super::out::clean;
use super::{Context, End};
use crate::core::fsck::{Finding, agent_of, contents, look};
use crate::problem::{Problem, chain, codes};
use crate::settings::Paths;

/// Check the agent's folder: store, journal, units, services, builds
#[derive(Debug, clap::Args)]
#[command(after_help = "Changes nothing, and asks no agent: one may run beside it, or none.

Examples:
  stoker fsck
  stoker fsck --contents --format json")]
pub(crate) struct Arguments {
    /// Hash all that builds are made of, too
    #[arg(long)]
    contents: bool,
    /// Also what is right while the agent works: operations in flight, files half made
    #[arg(long)]
    strict: bool,
    /// Where an agent runs: how long something must last before it counts
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = stoker_model::size::duration)]
    patience: Duration,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let paths = &context.paths;
    readable(paths)?;
    let agent = agent_of(paths);
    let mut findings = look(paths, arguments.strict);
    // What an agent has just begun is not wrong yet.
    let end = Instant::now() + arguments.patience;
    while agent.is_some() && !findings.is_empty() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let again = look(paths, arguments.strict);
        findings.retain(|finding| again.contains(finding));
    }
    if arguments.contents {
        let wrong = contents(&paths.builds).map_err(|error| {
            Problem::new(codes::FOLDER, format!("cannot read the builds in `{}`", paths.builds.display()))
                .evidence(chain(&error))
        })?;
        findings.extend(wrong);
    }
    let dir = paths.root.display().to_string();
    let sound = findings.is_empty();
    let document = json!({ "dir": dir, "agent": agent, "sound": sound, "findings": findings });
    context.out.show(&document, |_| text(&dir, &findings))?;
    let Some(first) = findings.first() else { return Ok(()) };
    let title = format!("the folder `{dir}` is not sound: {} found", findings.len());
    Err(Problem::new(codes::UNSOUND, title).fix(first.fix.clone()).into())
}

/// Refuses a folder that is not there or that this user may not read.
fn readable(paths: &Paths) -> Result<(), Problem> {
    let shown = paths.root.display();
    let opened = std::fs::read_dir(&paths.root).and_then(|_| std::fs::File::open(&paths.store));
    let Err(error) = opened else { return Ok(()) };
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Err(Problem::new(codes::NOT_ALLOWED, format!("cannot check `{shown}`: {error}"))
                .fix("run it as root, or as the agent's user"))
        }
        std::io::ErrorKind::NotFound if !paths.journal.exists() => Err(Problem::new(
            codes::NOT_FOUND,
            format!("cannot check `{shown}`: no agent was ever started there"),
        )
        .fix("name the agent's folder by --dir or STOKER_DIR")),
        // A database that is missing beside the other one is what is looked for.
        _ => Ok(()),
    }
}

fn text(dir: &str, findings: &[Finding]) -> String {
    if findings.is_empty() {
        return format!("{} is sound\n", clean(dir));
    }
    let line = |finding: &Finding| format!("{}: {}\n", finding.of, clean(&finding.found));
    findings.iter().map(line).collect()
}
