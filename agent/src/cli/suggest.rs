//! What was meant by a verb that there is not, also in the words of other tools; and a command line as it may be
//! kept. Owns the table of foreign verbs.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use stoker_model::strict;

use super::Cli;
use crate::problem::{Problem, codes};

/// Verbs of other tools, and ours.
const FOREIGN: &[(&str, &str)] = &[
    ("scale", "add-unit"),
    ("scale-application", "add-unit"),
    ("undo", "rollback"),
    ("apply", "deploy"),
    ("install", "deploy"),
    ("create", "deploy"),
    ("describe", "why"),
    ("history", "releases"),
    ("delete", "remove-application"),
    ("destroy", "remove-application"),
    ("rm", "remove-application"),
    ("unrelate", "remove-relation"),
    ("upgrade", "attach-resource"),
    ("upgrade-charm", "refresh"),
    ("attach", "attach-resource"),
    ("charm-resources", "resources"),
    ("set", "config"),
    ("get", "config"),
    ("run-action", "run"),
    ("exec", "run"),
    ("ps", "status"),
    ("top", "status"),
    ("ls", "status"),
    ("wait-for", "wait"),
    ("audit", "events"),
    ("audit-log", "events"),
    ("show-operation", "show-task"),
    ("show-application", "status"),
    ("daemon", "agent"),
    ("serve", "agent"),
    ("up", "agent"),
    ("shutdown", "down"),
    ("completion", "completions"),
];

/// The problem of any other usage error: what is wrong, the hints, and where to look.
pub(super) fn usage(error: &clap::Error, arguments: &[String]) -> Problem {
    let said = error.render().to_string();
    let mut lines = said.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let first =
        lines.next().unwrap_or_default().trim_start_matches("error: ").trim_end_matches(':').to_owned();
    let hints: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .collect();
    let command = Cli::command();
    let verb = arguments.iter().skip(1).find(|word| command.find_subcommand(word).is_some());
    let help = verb.map_or_else(|| "stoker --help".to_owned(), |verb| format!("stoker {verb} --help"));
    Problem::new(codes::USAGE, format!("cannot read the command: {first}"))
        .evidence(hints.join("\n"))
        .fix(help)
}

/// The problem for an unknown verb.
pub(super) fn verb(error: &clap::Error, arguments: &[String]) -> Option<Problem> {
    if error.kind() != clap::error::ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(asked)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    // Only the verb itself, not a sub-verb.
    let at = arguments.iter().position(|argument| argument == asked)?;
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    if arguments[1..at].iter().any(|argument| names.contains(&argument.as_str())) {
        return None;
    }
    let problem = Problem::new(codes::USAGE, format!("cannot run `{asked}`: there is no such verb"));
    Some(match meant(asked, &names) {
        Some(name) => problem.fix(format!("stoker {name}")),
        None => problem.fix("stoker --help"),
    })
}

fn meant<'a>(asked: &str, names: &[&'a str]) -> Option<&'a str> {
    if let Some((_, ours)) = FOREIGN.iter().find(|(theirs, _)| *theirs == asked) {
        return names.iter().find(|name| *name == ours).copied();
    }
    strict::nearest(asked, names.iter().copied())
}

/// The command as typed, as a shell would take it, values whose name sounds secret left out.
pub(super) fn as_typed(arguments: &[String]) -> String {
    let shown = arguments.iter().enumerate().map(|(at, argument)| {
        let argument = if at == 0 { "stoker".to_owned() } else { redacted(argument) };
        quoted(&argument)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn redacted(argument: &str) -> String {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["password", "passwd", "secret", "token", "key"].iter().any(|word| name.ends_with(word))
    };
    match argument.split_once('=') {
        Some((name, _)) if secret(name) && name != "--if-token" => format!("{name}=…"),
        _ => argument.to_owned(),
    }
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+…#".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn fix_of(line: &str) -> Option<String> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(&arguments).unwrap_err();
        verb(&error, &arguments).map(|problem| {
            assert_eq!(problem.exit_code(), 2);
            problem.fix
        })
    }

    #[test]
    fn an_unknown_verb_says_what_was_meant() {
        assert_eq!(fix_of("stoker scale web 3").unwrap(), "stoker add-unit");
        assert_eq!(fix_of("stoker --dir /x undo web").unwrap(), "stoker rollback");
        assert_eq!(fix_of("stoker stauts").unwrap(), "stoker status");
        assert_eq!(fix_of("stoker xyzzy").unwrap(), "stoker --help");
    }

    #[test]
    fn usage_errors_have_their_three_parts() {
        let arguments = ["stoker", "deploy", "web", "-n", "0"].map(str::to_owned);
        let problem = usage(&Cli::try_parse_from(&arguments).unwrap_err(), &arguments);
        assert!(problem.title.contains("'0'"), "{problem}");
        assert_eq!((problem.fix.as_str(), problem.exit_code()), ("stoker deploy --help", 2));
        let arguments = ["stoker", "show-unit"].map(str::to_owned);
        let problem = usage(&Cli::try_parse_from(&arguments).unwrap_err(), &arguments);
        assert!(problem.detail.contains("<UNIT>"), "{problem}");
    }

    #[test]
    fn foreign_verbs_are_not_ours_and_lead_to_ours() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        for (theirs, ours) in FOREIGN {
            assert!(!names.contains(theirs), "{theirs}");
            assert!(names.contains(ours), "{ours}");
        }
    }

    #[test]
    fn a_command_is_kept_without_secrets() {
        let line =
            ["/usr/bin/stoker", "config", "web", "admin-password=x y", "name=a b", "it's"].map(str::to_owned);
        assert_eq!(as_typed(&line), "stoker config web admin-password=… 'name=a b' 'it'\\''s'");
    }
}
