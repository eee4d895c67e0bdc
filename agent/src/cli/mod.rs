//! The command line: one file a verb, and what verbs have in common. Owns parsing, dispatch and the exit status; a
//! verb can do nothing that the API cannot.

mod ask;
mod client;
mod diff;
mod follow;
mod out;
mod progress;
mod source;
mod suggest;
mod table;
mod unpin;
mod verbs;
mod writing;

mod actions;
mod add_unit;
mod agent;
mod align;
mod attach_resource;
mod builds;
mod completions;
mod config;
mod debug_log;
mod deploy;
mod doctor;
mod down;
mod events;
mod explain;
mod expose;
mod fsck;
mod inspect;
mod integrate;
mod kept;
mod logs;
mod man;
mod pin;
mod recipe;
mod refresh;
mod releases;
mod remove_application;
mod remove_relation;
mod remove_resource;
mod remove_unit;
mod report;
mod resources;
mod restart;
mod rollback;
mod rollout;
mod run;
mod show_plan;
mod show_task;
mod show_unit;
mod start;
mod status;
mod stop;
mod unexpose;
mod version;
mod wait;
mod why;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::problem::{Problem, codes};
use crate::settings::Paths;
use client::Client;
use out::{Colour, Format, Out};
use verbs::Verb;

/// How a verb ends when it does not simply end.
#[derive(Debug)]
pub(crate) enum End {
    /// With this problem, said on standard error.
    Problem(Box<Problem>),
    /// With this exit status; what there was to say is said.
    Exit(u8),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// Runs builds and services that keep each other's company, on this host
#[derive(Debug, Parser)]
#[command(name = "stoker", version, override_help = verbs::HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Common options")]
struct Global {
    /// The agent's folder; the installed agent without it
    #[arg(long, global = true, env = "STOKER_DIR", value_name = "DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
    /// The model
    #[arg(
        short,
        long,
        global = true,
        default_value = "default",
        value_name = "MODEL",
        hide_default_value = true
    )]
    model: String,
    /// How the answer is written: tabular, json or yaml
    #[arg(long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    /// auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_possible_values = true,
        hide_default_value = true
    )]
    color: Colour,
    /// No talk, only the answer
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// What every verb has.
pub(crate) struct Context {
    paths: Paths,
    model: String,
    out: Out,
    /// The command as typed, secrets left out; kept with a change.
    command: String,
}

impl Context {
    fn client(&self) -> Result<Client, Problem> {
        Client::new(&self.paths, &self.model, &self.command)
    }
}

/// The whole of `main`.
pub(crate) fn main() -> ExitCode {
    if let Some(dir) = plain_agent(&std::env::args_os().skip(1).collect::<Vec<_>>()) {
        return start_agent(Some(&dir));
    }
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    match cli.global.color {
        Colour::Auto => {}
        Colour::Always => anstream::ColorChoice::Always.write_global(),
        Colour::Never => anstream::ColorChoice::Never.write_global(),
    }
    if let Verb::Agent(_) = cli.verb {
        return start_agent(cli.global.dir.as_deref());
    }
    let context = Context {
        paths: paths(cli.global.dir.as_deref()),
        model: cli.global.model,
        out: Out { format: cli.global.format.unwrap_or(Format::Tabular), quiet: cli.global.quiet },
        command: suggest::as_typed(&arguments),
    };
    let runtime = runtime(&mut tokio::runtime::Builder::new_current_thread());
    ended(runtime.and_then(|runtime| runtime.block_on(cli.verb.run(&context))))
}

/// Becomes the agent, with two threads.
fn start_agent(dir: Option<&Path>) -> ExitCode {
    if let Some(error) = stoker_host::exec::with_small_memory() {
        // It runs as well with more memory.
        anstream::eprintln!("stoker: goes on with the allocator as it is: {error}");
    }
    let runtime = runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2));
    ended(runtime.and_then(|runtime| runtime.block_on(Box::pin(agent::serve(paths(dir))))))
}

/// The folder, empty where none is named, if the words are those that an agent is started with and no more. The parser of
/// all verbs is not asked then: what it touches would stay in the agent's memory.
fn plain_agent(words: &[OsString]) -> Option<PathBuf> {
    let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    match words[..] {
        ["agent"] => Some(std::env::var_os("STOKER_DIR").unwrap_or_default().into()),
        ["agent", "--dir", dir] | ["--dir", dir, "agent"] if !dir.is_empty() && !dir.starts_with('-') => {
            Some(dir.into())
        }
        _ => None,
    }
}

fn paths(dir: Option<&Path>) -> Paths {
    Paths::resolve(dir.filter(|dir| !dir.as_os_str().is_empty()))
}

fn ended(how: Result<(), End>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Exit(status)) => ExitCode::from(status),
        Err(End::Problem(problem)) => {
            Out::problem(&problem);
            ExitCode::from(problem.exit_code())
        }
    }
}

fn runtime(builder: &mut tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, End> {
    let built = builder.enable_all().build();
    Ok(built.map_err(|error| Problem::new(codes::INTERNAL, format!("cannot start: {error}")))?)
}

/// Help and version end with 0; a usage error with 2 in its three parts, an unknown verb with what was meant.
fn usage(error: &clap::Error, arguments: &[String]) -> ExitCode {
    if !error.use_stderr() {
        // Whoever asked for help and went away has read enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::MissingSubcommand && arguments.len() == 1 {
        Out::say(verbs::HELP.trim_end());
        return ExitCode::from(codes::USAGE.exit);
    }
    let problem = suggest::verb(error, arguments).unwrap_or_else(|| suggest::usage(error, arguments));
    Out::problem(&problem);
    ExitCode::from(problem.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_an_agent_means_the_same_to_the_parser() {
        let plain = |words: &[&str]| plain_agent(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for words in [&["agent"][..], &["agent", "--dir", "/d"], &["--dir", "/d", "agent"]] {
            let cli = Cli::try_parse_from([&["stoker"][..], words].concat()).unwrap();
            assert!(matches!(cli.verb, Verb::Agent(_)));
            assert_eq!(plain(words), Some(cli.global.dir.unwrap_or_default()), "{words:?}");
        }
        for words in [&["agent", "-h"][..], &["agent", "--dir"], &["agent", "--dir", ""], &["status"], &[]] {
            assert_eq!(plain(words), None, "{words:?}");
        }
    }
}
