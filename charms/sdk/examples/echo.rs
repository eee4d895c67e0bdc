//! A small charm that uses every role of the SDK; the SDK's tests run it.
#![allow(clippy::disallowed_methods, reason = "a recipe starts programs")]
#![allow(clippy::unnecessary_wraps, reason = "the roles' signatures are given")]

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use stoker_charm::plan::Service;
use stoker_charm::{Charm, Facts, Observation, Plan, Progress, Recipe, State, Status, TRY_LATER, recipe};

fn plan(seen: &Observation) -> anyhow::Result<Plan> {
    match seen.config.get("mode").and_then(|mode| mode.as_str()) {
        Some("fail") => Err(anyhow::anyhow!("the inner reason")).context("cannot plan"),
        Some("panic") => panic!("no such luck"),
        _ => {
            let service = Service { command: vec!["sleep".into(), "infinity".into()], ..Service::default() };
            Ok(Plan {
                status: Status::new(State::Active, format!("I am {}", seen.unit)),
                services: [("echo".to_owned(), service)].into(),
                ..Plan::default()
            })
        }
    }
}

fn inspect(product: &str, tree: &Path) -> anyhow::Result<Option<Facts>> {
    if !matches!(product, "-" | "echo") || !tree.join("ECHO").is_file() {
        return Ok(None);
    }
    let version = std::fs::read_to_string(tree.join("ECHO"))?.trim().to_owned();
    if version.is_empty() {
        bail!("cannot inspect `{}`: it names no version", tree.display());
    }
    Ok(Some(Facts { product: "echo".into(), version, ..Facts::default() }))
}

fn make(version: &str, out: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    progress.step("writing", 0, 1);
    match version {
        "slow" => {
            // The shell and its child tell when they run, so that a test knows when to cancel.
            let script = "sleep 600 & echo $! > \"$1/child\"; mv \"$1/child\" \"$1/started\"; wait";
            recipe::run(Command::new("/bin/sh").args(["-c", script, "sh"]).arg(out))?;
        }
        "bad" => recipe::run(Command::new("/bin/sh").args(["-c", "echo first; echo no luck >&2; exit 7"]))?,
        _ => {
            let said = recipe::output(Command::new("/bin/echo").arg(version))?;
            std::fs::write(out.join("ECHO"), said)?;
        }
    }
    progress.step("writing", 1, 1);
    Ok(())
}

fn versions() -> anyhow::Result<Vec<String>> {
    Ok(vec!["2".into(), "1".into()])
}

fn later(args: &[String]) -> anyhow::Result<ExitCode> {
    Ok(if args.is_empty() { ExitCode::from(TRY_LATER) } else { ExitCode::SUCCESS })
}

fn main() -> ExitCode {
    stoker_charm::main(Charm {
        plan,
        inspect: Some(inspect),
        recipe: Some(Recipe { product: "echo", make, versions }),
        programs: &[("later", later)],
    })
}
