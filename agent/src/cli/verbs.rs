//! The verbs: their names, and the help that groups them by task. Owns the list; each verb is in its own file.

use clap::Subcommand;

use super::{Context, End};

/// The help without a verb.
pub(super) const HELP: &str = "\
Runs builds and services that keep each other's company, on this host.

Usage: stoker [--dir DIR] VERB …        stoker VERB --help has two examples each

Applications   deploy, refresh, config          bring up, renew, set options
               integrate, remove-relation       relate two, or no longer
               add-unit, remove-unit            more, fewer
               remove-application, kept         the end, and the data that stays
Builds         attach-resource, resources       give an application its builds
               pin, unpin, remove-resource      stay on one, no longer, forget one
               builds, inspect, recipe          all builds; what is in one; what can be made
               align                            how one fits what it would run with
Moves          rollout, releases, rollback      how changes go, and back
Look           status, why, wait                all at a glance, reasons, patience
               show-unit, show-plan             one unit in full
               logs, debug-log, events          of services, of the agent; who asked for what
Act            run, actions, show-task          actions of charms
               start, stop, restart             services
               expose, unexpose                 let other hosts reach them, or no longer
Agent          agent, down, version             in the foreground, its end, which
               doctor, fsck                     what is wrong with the host, with the folder
               report                           all of it as one page, without secrets
Help           explain, man, completions        a code like ST0005; a page; for a shell

Common options:
      --dir DIR         the agent's folder [env STOKER_DIR]; the installed agent without it
  -m, --model MODEL     the model [default: default]
      --format FORMAT   tabular, json or yaml
      --color WHEN      auto, always or never
  -q, --quiet           no talk, only the answer
  -h, --help            this, or a verb's help
  -V, --version         the version

Exit status: 0 done, 1 failed, 2 usage, 4 not allowed, 5 not found, 6 conflict, 7 no agent, 8 not settled,
10 changes (--preview --exit-code), 130 interrupted
";

macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident in $module:ident,)*) => {
        /// A verb with its arguments.
        #[derive(Debug, Subcommand)]
        pub(super) enum Verb {
            $($(#[$meta])* $name(super::$module::Arguments),)*
        }

        impl Verb {
            /// Does it.
            pub(super) async fn run(self, context: &Context) -> Result<(), End> {
                match self {
                    $(Self::$name(arguments) => Box::pin(super::$module::run(arguments, context)).await,)*
                }
            }
        }
    };
}

verbs! {
    Deploy in deploy,
    Refresh in refresh,
    Config in config,
    #[command(visible_alias = "relate")]
    Integrate in integrate,
    RemoveRelation in remove_relation,
    AddUnit in add_unit,
    RemoveUnit in remove_unit,
    RemoveApplication in remove_application,
    Kept in kept,
    AttachResource in attach_resource,
    Resources in resources,
    Pin in pin,
    Unpin in unpin,
    RemoveResource in remove_resource,
    Builds in builds,
    Inspect in inspect,
    Recipe in recipe,
    Align in align,
    Rollout in rollout,
    Releases in releases,
    Rollback in rollback,
    Status in status,
    Why in why,
    Wait in wait,
    ShowUnit in show_unit,
    ShowPlan in show_plan,
    Logs in logs,
    DebugLog in debug_log,
    Events in events,
    Run in run,
    Actions in actions,
    ShowTask in show_task,
    Start in start,
    Stop in stop,
    Restart in restart,
    Expose in expose,
    Unexpose in unexpose,
    Agent in agent,
    Doctor in doctor,
    Down in down,
    Fsck in fsck,
    Report in report,
    Version in version,
    Explain in explain,
    Completions in completions,
    Man in man,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;
    use super::HELP;

    #[test]
    fn the_help_is_short_and_names_every_verb() {
        assert!(HELP.lines().count() <= 40 && HELP.lines().all(|line| line.chars().count() <= 110));
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            let named =
                HELP.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == name);
            assert!(named, "{name}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_verb_is_said_and_ends_with_two_examples_that_parse() {
        for verb in Cli::command().get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            assert!(
                verb.get_about().is_some_and(|about| !about.to_string().is_empty()),
                "{name} says nothing"
            );
            let after = verb.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let examples: Vec<&str> =
                after.lines().map(str::trim).filter(|line| line.starts_with("stoker ")).collect();
            assert_eq!(examples.len(), 2, "{name}");
            for example in examples {
                let line = example.split("  #").next().unwrap_or_default().trim();
                let words: Vec<&str> = line.split_whitespace().collect();
                assert!(words.contains(&name.as_str()) || name == "integrate", "{name}: {example}");
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{example}: {error}");
                }
            }
            assert!(verb.render_help().to_string().lines().count() <= 48, "{name}'s help is long");
        }
    }
}
