//! `stoker man`: manual pages of what the command line knows of itself. Owns their order of sections; says nothing that
//! `--help` does not say, but for where the installed files are.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::out::Out;
use super::{Cli, Context, End, verbs};
use crate::problem::{Problem, codes};
use crate::settings::Paths;

/// Print a manual page
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker man deploy              # | man -l -
  stoker man --list")]
pub(crate) struct Arguments {
    /// A verb, or the page's whole name; without it the program's own
    page: Option<String>,
    /// The names of all pages
    #[arg(long, conflicts_with = "page")]
    list: bool,
}

#[allow(clippy::unused_async, reason = "as all verbs")]
pub(super) async fn run(arguments: Arguments, _: &Context) -> Result<(), End> {
    let pages = pages();
    if arguments.list {
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        return Out::payload(&format!("{}\n", names.join("\n")));
    }
    let asked = arguments.page.as_deref().unwrap_or("stoker").replace(' ', "-");
    let found = pages.into_iter().find(|(name, _)| *name == asked || *name == format!("stoker-{asked}"));
    let Some((name, command)) = found else {
        let problem = Problem::new(codes::NOT_FOUND, format!("cannot find a page `{asked}`"));
        return Err(problem.fix("stoker man --list").into());
    };
    let text = page(&name, command)
        .map_err(|error| Problem::new(codes::INTERNAL, format!("cannot write the page `{name}`: {error}")))?;
    Out::payload(&text)
}

/// All pages by their names, the program's own first.
fn pages() -> Vec<(String, Command)> {
    let mut top = Cli::command().mut_subcommands(|verb| verb.disable_help_subcommand(true));
    top.build();
    let mut all = Vec::new();
    gather(&top, &mut all);
    all
}

fn gather(command: &Command, all: &mut Vec<(String, Command)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    all.push((name.to_owned(), command.clone()));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        gather(inner, all);
    }
}

fn page(name: &str, command: Command) -> std::io::Result<String> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let inner = command.has_subcommands();
    let of = format!("stoker {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).title(name).source(of).manual("stoker");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if inner {
        man.render_subcommands_section(&mut out)?;
    }
    let mut more = Roff::new();
    if let Some((_, examples)) = after.split_once("Examples:\n") {
        more.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.lines() {
            more.text([roman(line.trim_start())]);
        }
        more.control("fi", []);
    }
    if name == "stoker" {
        exit_status(&mut more);
        files(&mut more);
    } else {
        more.control("SH", ["SEE ALSO"]).text([bold("stoker"), roman("(1)")]);
    }
    more.to_writer(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// As the help ends.
fn exit_status(page: &mut Roff) {
    if let Some((_, text)) = verbs::HELP.rsplit_once("Exit status: ") {
        page.control("SH", ["EXIT STATUS"]);
        for one in text.replace('\n', " ").trim().split(", ") {
            let (status, meaning) = one.split_once(' ').unwrap_or((one, ""));
            page.control("TP", []).text([bold(status)]).text([roman(meaning)]);
        }
    }
}

fn files(page: &mut Roff) {
    let paths = Paths::resolve(None);
    page.control("SH", ["FILES"]);
    for (path, what) in [
        (&paths.config, "settings, each with its default and what it is"),
        (&paths.drop_ins(), "settings that are read after it"),
        (&paths.root, "the model, this host's journal, builds, and the folders of units with their data"),
        (&paths.kept, "data of units that were removed"),
        (&paths.log, "what the agent says, as `stoker debug-log` shows it"),
        (&paths.socket, "the API; it is root's and the group stoker's"),
    ] {
        page.control("TP", []).text([bold(path.display().to_string())]).text([roman(what)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_options_and_examples() {
        let all = pages();
        assert_eq!(all[0].0, "stoker");
        let verbs = Cli::command().get_subcommands().count();
        assert!(all.len() > verbs && all.iter().any(|(name, _)| name == "stoker-builds-gc"));
        for (name, command) in all {
            let text = page(&name, command).unwrap();
            assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}");
            assert_eq!(text.contains(".SH \"EXIT STATUS\""), name == "stoker", "{name}");
            if name.matches('-').count() == 1 {
                assert!(text.contains(".SH EXAMPLES"), "{name}");
            }
        }
    }

    #[test]
    fn the_exit_statuses_are_those_of_the_help() {
        let (name, command) = pages().remove(0);
        let text = page(&name, command).unwrap();
        for status in ["0", "8", "130"] {
            assert!(text.contains(&format!("\\fB{status}\\fR")), "{status}: {text}");
        }
        assert!(text.contains("/run/stoker/api.sock"), "{text}");
    }
}
