//! `stoker down`.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use stoker_host::services::record::Record;
use stoker_model::size;

use super::client::Client;
use super::{Context, End, follow};
use crate::problem::{Problem, codes};

/// Stop all services and end the agent; returns when it is gone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker down
  stoker down --dir ~/stoker --timeout 2m")]
pub(crate) struct Arguments {
    /// Give up waiting after this long, with exit status 8
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = size::duration)]
    timeout: Duration,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = match context.client() {
        Ok(client) => client,
        // Not even a folder.
        Err(problem) if problem.code == codes::UNREACHABLE.id && !context.paths.root.exists() => {
            context.out.talk("no agent runs there");
            return Ok(());
        }
        Err(problem) => return Err(problem.into()),
    };
    let was_there = client.get::<Value>(Client::root(&["version"])).await.is_ok();
    let asked = async {
        let said = tokio::time::timeout(
            arguments.timeout,
            client.post::<Value>(Client::root(&["down"]), &Value::Null),
        );
        match said.await {
            // Nobody answers: gone before its answer was read, or never there.
            Ok(Err(problem)) if problem.code == codes::UNREACHABLE.id && !was_there => {
                if left_over(&context.paths.services) {
                    return Err(problem.evidence("services may run that only their agent can stop"));
                }
                context.out.talk("no agent runs there");
                return Ok(());
            }
            Ok(Err(problem)) if problem.code == codes::UNREACHABLE.id && !context.paths.socket.exists() => {}
            Ok(answer) => {
                answer?;
            }
            Err(_) => return Err(late()),
        }
        gone(context, arguments.timeout).await?;
        context.out.talk("all services are stopped, the agent has ended");
        Ok(())
    };
    let interrupted = || {
        Problem::new(codes::INTERRUPTED, "stopped waiting for the agent's end: it goes on").fix("stoker down")
    };
    Ok(follow::interruptible(asked, interrupted).await?)
}

async fn gone(context: &Context, timeout: Duration) -> Result<(), Problem> {
    let start = Instant::now();
    while context.paths.socket.exists() || locked(&context.paths.lock) {
        if start.elapsed() > timeout {
            return Err(late());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Some service's keeper lives, though no agent does.
fn left_over(services: &Path) -> bool {
    let entries = std::fs::read_dir(services).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| locked(&Record::new(entry.path()).lock()))
}

fn late() -> Problem {
    Problem::new(codes::NOT_SETTLED, "the agent has not ended in time: it goes on").fix("stoker down")
}

/// Whether somebody holds the lock; without a file nobody does.
fn locked(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!locked(&path));
        let held =
            Flock::lock(std::fs::File::create(&path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        assert!(locked(&path));
        drop(held);
        assert!(!locked(&path));
    }
}
