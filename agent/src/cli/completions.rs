//! `stoker completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::out::Out;
use super::{Cli, Context, End};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker completions bash
  stoker completions zsh")]
pub(crate) struct Arguments {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

#[allow(clippy::unused_async, reason = "as all verbs")]
pub(super) async fn run(arguments: Arguments, _: &Context) -> Result<(), End> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "stoker", &mut script);
    Out::payload(&String::from_utf8_lossy(&script))
}
