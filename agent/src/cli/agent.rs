//! `stoker agent`: the daemon, in the foreground.

use super::{Context, End};
use crate::problem::{Problem, codes};
use crate::settings::{Paths, Settings, log};

/// How an installed agent ends after `stoker down`; packaging/systemd/stoker.service knows it.
const DOWN: u8 = 3;

/// Run the agent in the foreground; services outlive it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker agent
  stoker agent --dir ~/stoker")]
pub(crate) struct Arguments {}

pub(super) async fn run(_: Arguments, context: &Context) -> Result<(), End> {
    serve(context.paths.clone()).await
}

/// Is the agent of a folder.
pub(super) async fn serve(paths: Paths) -> Result<(), End> {
    let settings = Settings::load(&paths)?;
    paths.prepare()?;
    let level = log::start(&paths.log, settings.log_level).map_err(|error| {
        let path = paths.log.display();
        Problem::new(codes::FOLDER, format!("cannot write the log `{path}`: {error}"))
            .fix("give a --dir that you may write to, or run as root")
    })?;
    let local = paths.local;
    let down = crate::core::run(paths, settings, level).await?;
    // An installed agent is started again whenever it ends, but not when it was told to with all its services.
    if down && !local { Err(End::Exit(DOWN)) } else { Ok(()) }
}
