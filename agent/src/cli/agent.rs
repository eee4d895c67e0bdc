//! `stoker agent`: the daemon, in the foreground.

use super::{Context, End};
use crate::problem::{Problem, codes};
use crate::settings::{Settings, log};

/// How an installed agent ends after `stoker down`; packaging/systemd/stoker.service knows it.
const DOWN: u8 = 3;

/// Run the agent in the foreground; services outlive it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker agent
  stoker agent --dir ~/stoker")]
pub(crate) struct Arguments {}

pub(super) async fn run(_: Arguments, context: &Context) -> Result<(), End> {
    let settings = Settings::load(&context.paths)?;
    context.paths.prepare()?;
    let level = log::start(&context.paths.log, settings.log_level).map_err(|error| {
        let path = context.paths.log.display();
        Problem::new(codes::FOLDER, format!("cannot write the log `{path}`: {error}"))
            .fix("give a --dir that you may write to, or run as root")
    })?;
    let down = crate::core::run(context.paths.clone(), settings, level).await?;
    // An installed agent is started again whenever it ends, but not when it was told to with all its services.
    if down && !context.paths.local { Err(End::Exit(DOWN)) } else { Ok(()) }
}
