//! Asks before something is destroyed. Off a terminal nobody is asked: the flag must be given.

use std::io::BufRead;

use super::End;
use super::out::{Out, clean};
use crate::problem::{Problem, codes};

/// The flag of destructive verbs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Sure {
    /// Do not ask
    #[arg(short, long, alias = "no-prompt")]
    pub yes: bool,
}

impl Sure {
    /// Goes on when `--yes` was given, or when `name` is typed at the question.
    pub(super) fn confirm(&self, what: &str, name: &str) -> Result<(), End> {
        if self.yes {
            return Ok(());
        }
        if !Out::asks() {
            return Err(Problem::new(codes::USAGE, format!("cannot {what}: nobody can be asked here"))
                .fix("add --yes")
                .into());
        }
        Out::say(&format!("This will {}. Type `{}` to go on:", clean(what), clean(name)));
        let mut typed = String::new();
        let read = std::io::stdin().lock().read_line(&mut typed);
        if read.is_ok() && typed.trim() == name {
            Ok(())
        } else {
            Err(Problem::new(codes::DECLINED, format!("did not {what}: it was not confirmed"))
                .fix("type the name as it is shown, or add --yes")
                .into())
        }
    }
}
