//! The roles of a charm's executable: which function runs, and what its outcome prints and exits with.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::{Charm, Progress, Recipe, dispatch, inspect, recipe};

/// The exit status of `inspect` for a tree that is no build of the charm's.
const NOT_MINE: u8 = 3;
/// The exit status for arguments that mean nothing.
const USAGE: u8 = 2;

pub(crate) fn run(charm: &Charm, args: Vec<String>) -> ExitCode {
    let role = args.first().map_or("dispatch", String::as_str).to_owned();
    exit_on_panic(role.clone());
    match role_of(charm, &role, args.get(1..).unwrap_or_default()) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn role_of(charm: &Charm, role: &str, rest: &[String]) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (role, words.as_slice()) {
        ("dispatch", []) => dispatch::run(charm.plan).map(|()| ExitCode::SUCCESS),
        ("inspect", [product, tree]) => match inspect::facts(charm.inspect, product, Path::new(tree))? {
            Some(facts) => print(&serde_json::to_string(&facts)?),
            None => Ok(ExitCode::from(NOT_MINE)),
        },
        ("recipe", words) => recipe_of(charm, words),
        (name, _) => match charm.programs.iter().find(|(program, _)| *program == name) {
            Some((_, program)) => program(rest),
            None => Ok(usage(charm)),
        },
    }
}

/// The recipe of the product that was asked for by `STOKER_PRODUCT`: the charm's own, else the SDK's.
fn recipe_for(charm: &Charm) -> anyhow::Result<Recipe> {
    let asked = std::env::var("STOKER_PRODUCT").unwrap_or_default();
    match (&charm.recipe, asked.as_str()) {
        (Some(own), product) if product.is_empty() || product == own.product => Ok(*own),
        (_, "java") => {
            Ok(Recipe { product: "java", make: recipe::java::make, versions: recipe::java::versions })
        }
        (_, "python") => {
            let none = || Ok(Vec::new());
            Ok(Recipe { product: "python", make: recipe::environment::from_list, versions: none })
        }
        (_, "jars") => {
            let none = || Ok(Vec::new());
            Ok(Recipe { product: "jars", make: recipe::libraries::make, versions: none })
        }
        (Some(own), other) => bail!("this charm's recipe makes {}, not {other}", own.product),
        (None, _) => bail!("this charm has no recipe"),
    }
}

fn recipe_of(charm: &Charm, words: &[&str]) -> anyhow::Result<ExitCode> {
    let made = recipe_for(charm)?;
    match words {
        ["make", version, out] => {
            // Before anything else opens files: descriptor 3 must still be what it was at the start.
            let mut progress = Progress::inherited();
            recipe::watch_for_cancel()?;
            let out = Path::new(out);
            std::fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
            let outcome = (made.make)(version, out, &mut progress);
            recipe::check_cancelled()?;
            outcome.map(|()| ExitCode::SUCCESS)
        }
        ["versions"] => print(&serde_json::to_string(&(made.versions)()?)?),
        _ => Ok(usage(charm)),
    }
}

fn usage(charm: &Charm) -> ExitCode {
    let mut said =
        "usage: dispatch | inspect PRODUCT TREE | recipe make VERSION OUT | recipe versions".to_owned();
    for (name, _) in charm.programs {
        said.push_str(" | ");
        said.push_str(name);
        said.push_str(" [ARGUMENT]...");
    }
    say(&said);
    ExitCode::from(USAGE)
}

/// Prints a line on standard output: a program's result.
pub fn print(line: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn say(message: &str) {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// A hook and not `catch_unwind`: charms are built with `panic = "abort"`.
#[allow(clippy::exit, reason = "the only way to a chosen exit status out of a panic that aborts")]
fn exit_on_panic(role: String) {
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        say(&format!("cannot finish `{role}`: the charm has a defect: {what}{place}"));
        std::process::exit(1);
    }));
}
