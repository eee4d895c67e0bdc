//! Waiting until a change has settled, and what that means for the exit status. Owns the rules of `--wait`.

use std::future::Future;
use std::time::{Duration, Instant};

use stoker_model::size;

use super::client::Client;
use super::out::Out;
use super::progress::Shown;
use super::{Context, End};
use crate::api::types::ChangeStatus;
use crate::problem::{Problem, codes};

/// How long one question is held by the agent; what is pending is shown anew after it.
const ASK: Duration = Duration::from_secs(2);

/// How long and how strictly to wait.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Patience {
    /// Give up after this long (`90s`, `10m`) with exit status 8
    #[arg(long, value_name = "DURATION", value_parser = size::duration)]
    pub timeout: Option<Duration>,
    /// Exit status 1 when a unit is blocked
    #[arg(long)]
    pub fail_on_blocked: bool,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A change.
    Change(u64),
    /// All changes of an application, or of the model.
    App(Option<String>),
}

impl Subject {
    /// What to type to wait for it again.
    fn again(&self) -> String {
        match self {
            Self::Change(n) => format!("stoker wait {n}"),
            Self::App(Some(app)) => format!("stoker wait {app}"),
            Self::App(None) => "stoker wait".to_owned(),
        }
    }

    fn says(&self) -> String {
        match self {
            Self::Change(n) => format!("change {n}"),
            Self::App(Some(app)) => format!("`{app}`"),
            Self::App(None) => "the model".to_owned(),
        }
    }
}

/// Waits; the answer is how it ended. Being interrupted and running out of time are problems.
pub(crate) async fn settled(
    context: &Context,
    client: &Client,
    subject: &Subject,
    patience: &Patience,
) -> Result<ChangeStatus, Problem> {
    let asked = until_settled(context.out, client, subject, patience);
    interruptible(asked, || {
        Problem::new(codes::INTERRUPTED, format!("stopped waiting for {}: it goes on", subject.says()))
            .fix(subject.again())
    })
    .await
}

/// Runs `work` unless Ctrl-C comes first.
pub(crate) async fn interruptible<T>(
    work: impl Future<Output = Result<T, Problem>>,
    interrupted: impl FnOnce() -> Problem,
) -> Result<T, Problem> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
    }
}

async fn until_settled(
    out: Out,
    client: &Client,
    subject: &Subject,
    patience: &Patience,
) -> Result<ChangeStatus, Problem> {
    let start = Instant::now();
    let mut shown = Shown::new(out);
    loop {
        let left = patience.timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        let status = ask(client, subject, left.map_or(ASK, |left| left.min(ASK))).await?;
        if ended(&status) {
            shown.clear();
            let took = indicatif::HumanDuration(start.elapsed());
            out.talk(&format!("{} has settled after {took}", subject.says()));
            return Ok(status);
        }
        if !status.deferred.is_empty() {
            return Ok(status);
        }
        shown.pending(&status.pending);
        if patience.timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
            return Err(Problem::new(
                codes::NOT_SETTLED,
                format!("{} has not settled in time: it goes on", subject.says()),
            )
            .evidence(status.pending.join("\n"))
            .fix(subject.again()));
        }
    }
}

/// Nothing more will happen by itself.
fn ended(status: &ChangeStatus) -> bool {
    status.settled || (status.pending.is_empty() && !status.errors.is_empty())
}

async fn ask(client: &Client, subject: &Subject, wait: Duration) -> Result<ChangeStatus, Problem> {
    let mut url = match subject {
        Subject::Change(n) => client.at(&["changes", &n.to_string()]),
        Subject::App(_) => client.at(&["settled"]),
    };
    url.query_pairs_mut().append_pair("wait", &wait.as_millis().to_string());
    if let Subject::App(Some(app)) = subject {
        url.query_pairs_mut().append_pair("app", app);
    }
    client.get(url).await
}

/// What a settled or deferred change means: 0 when active or blocked, which is said; 1 for errors, and for blocked
/// where that was asked for; 8 for a move that was deferred.
pub(crate) fn verdict(out: Out, status: &ChangeStatus, patience: &Patience) -> Result<(), End> {
    if !status.errors.is_empty() {
        return Err(Problem::new(codes::UNIT_ERROR, "what was asked failed: a unit is in error")
            .evidence(status.errors.join("\n"))
            .fix(why(&status.errors))
            .into());
    }
    if !status.deferred.is_empty() {
        return Err(Problem::new(codes::DEFERRED, "the change is made, but a move waits for busy services")
            .evidence(status.deferred.join("\n"))
            .fix(rollout(&status.deferred))
            .into());
    }
    if status.blocked.is_empty() {
        return Ok(());
    }
    if patience.fail_on_blocked {
        return Err(Problem::new(codes::BLOCKED, "the change has settled, but a unit is blocked")
            .evidence(status.blocked.join("\n"))
            .fix(why(&status.blocked))
            .into());
    }
    for line in &status.blocked {
        Out::say(&format!("blocked: {}", super::out::clean(line)));
    }
    out.talk(&format!("fix: {}", why(&status.blocked)));
    Ok(())
}

/// Lines begin with the unit: `web/0: …`.
fn why(lines: &[String]) -> String {
    let unit = lines.first().and_then(|line| line.split([':', ' ']).next()).unwrap_or("APP");
    format!("stoker why {unit}")
}

fn rollout(lines: &[String]) -> String {
    let app = lines.first().and_then(|line| line.split(['/', ':', ' ']).next()).unwrap_or("APP");
    format!("wait until they are idle, or stoker rollout {app} now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::Format;

    const OUT: Out = Out { format: Format::Json, quiet: true };

    fn exit(status: &ChangeStatus, strict: bool) -> u8 {
        match verdict(OUT, status, &Patience { fail_on_blocked: strict, ..Patience::default() }) {
            Ok(()) => 0,
            Err(End::Exit(n)) => n,
            Err(End::Problem(problem)) => {
                assert!(!problem.fix.is_empty());
                problem.exit_code()
            }
        }
    }

    #[test]
    fn exit_statuses_go_by_the_table() {
        let settled = ChangeStatus { settled: true, ..ChangeStatus::default() };
        assert_eq!(exit(&settled, true), 0);
        let blocked = ChangeStatus { blocked: vec!["web/0: attach".into()], ..settled.clone() };
        assert_eq!((exit(&blocked, false), exit(&blocked, true)), (0, 1));
        let deferred = ChangeStatus { deferred: vec!["web/0: 2 busy".into()], ..blocked.clone() };
        assert_eq!(exit(&deferred, false), 8);
        let error = ChangeStatus { errors: vec!["web/0: crashed".into()], ..deferred.clone() };
        assert_eq!(exit(&error, false), 1);
        assert!(rollout(&deferred.deferred).ends_with("stoker rollout web now"));
        assert_eq!(why(&error.errors), "stoker why web/0");
    }

    #[test]
    fn an_error_with_nothing_pending_is_an_end() {
        assert!(!ended(&ChangeStatus {
            errors: vec!["x".into()],
            pending: vec!["y".into()],
            ..Default::default()
        }));
        assert!(ended(&ChangeStatus { errors: vec!["x".into()], ..Default::default() }));
        assert!(!ended(&ChangeStatus::default()));
    }
}
