//! `stoker doctor`: looks at the host and the folder by itself; asks the agent, where one answers, for logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::out::{clean, clean_line};
use super::{Context, End};
use crate::core::doctor::{Finding, examine, finding, known, ok};
use crate::problem::{Problem, chain, codes};
use crate::settings::Settings;

/// So many lines of the end of each application's logs are looked through.
const LINES: &str = "5000";

/// Look for what is wrong with this host, and say what helps
#[derive(Debug, clap::Args)]
#[command(after_help = "Changes nothing. Exit status 1 where something is a problem; a warning is none.

Examples:
  stoker doctor
  stoker doctor --format json")]
pub(crate) struct Arguments {
    /// Only what is not well
    #[arg(long)]
    problems: bool,
}

#[derive(Deserialize)]
struct Line {
    source: String,
    line: String,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let settings = Settings::load(&context.paths)?;
    let mut all = examine(&context.paths, &settings).await;
    all.extend(errors(context, &settings).await);
    if arguments.problems {
        all.retain(|finding| finding.state != "ok");
    }
    context.out.show(&json!({ "findings": all }), |_| text(&all))?;
    let problems: Vec<&Finding> = all.iter().filter(|finding| finding.state == "problem").collect();
    let Some(first) = problems.first() else { return Ok(()) };
    let title = format!("this host is not well: {} found", problems.len());
    Err(Problem::new(codes::UNFIT, title).fix(first.fix.clone()).into())
}

/// What services' logs say that charms know.
async fn errors(context: &Context, settings: &Settings) -> Vec<Finding> {
    let folders = settings.charms_path.iter().map(AsRef::as_ref).chain([context.paths.charms.as_path()]);
    let known = match known::tables(folders.collect::<Vec<&Path>>().into_iter()) {
        Ok(known) => known,
        Err(error) => {
            return vec![finding("known errors", "warning", chain(&error), "mend the charm's file")];
        }
    };
    let found = match logs(context, &known).await {
        Ok(found) => found,
        Err(problem) => {
            let fix = if problem.fix.is_empty() { "stoker logs APP".to_owned() } else { problem.fix };
            return vec![finding(
                "known errors",
                "warning",
                format!("logs were not read: {}", problem.title),
                fix,
            )];
        }
    };
    if found.is_empty() {
        return vec![ok("known errors", format!("none of {} is in the services' logs", known.len()))];
    }
    found
}

async fn logs(context: &Context, known: &[known::Known]) -> Result<Vec<Finding>, Problem> {
    let client = context.client()?;
    let status: Value = client.get(client.at(&["status"])).await?;
    let mut found: BTreeMap<(String, usize), (u64, String)> = BTreeMap::new();
    for app in status["applications"].as_object().into_iter().flat_map(|apps| apps.keys()) {
        let mut url = client.at(&["logs"]);
        url.query_pairs_mut().append_pair("target", app).append_pair("lines", LINES);
        let mut lines = client.lines(url).await?;
        while let Some(Line { source, line }) = lines.next::<Line>().await? {
            let Some(hit) = known::find(known, &line) else { continue };
            let at = known.iter().position(|each| each == hit).unwrap_or_default();
            let (count, last) = found.entry((source, at)).or_default();
            *count += 1;
            *last = line;
        }
    }
    let tell = |((source, at), (count, last)): ((String, usize), (u64, String))| {
        let last: String = last.trim().chars().take(200).collect();
        let says = format!("{source}: {} ({count} times, last: {last})", known[at].means);
        finding("known errors", "warning", says, known[at].fix.clone())
    };
    Ok(found.into_iter().map(tell).collect())
}

fn text(all: &[Finding]) -> String {
    let mut text = String::new();
    for finding in all {
        let colour = match finding.state.as_str() {
            "ok" => "32",
            "warning" => "33",
            _ => "31",
        };
        let state = format!("\x1b[{colour}m{:7}\x1b[0m", finding.state);
        let _ = writeln!(text, "{state}  {:14}  {}", finding.check, clean(&finding.found));
        if !finding.fix.is_empty() {
            let _ = writeln!(text, "         {:14}  fix: {}", "", clean_line(&finding.fix));
        }
    }
    if text.is_empty() { "all is well\n".to_owned() } else { text }
}
