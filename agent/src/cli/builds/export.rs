//! `stoker builds export`.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use crate::cli::client::Client;
use crate::cli::out::{bytes, clean};
use crate::cli::progress::Shown;
use crate::cli::{Context, End, follow};
use crate::problem::{Problem, codes};

/// Write a build as a stream, for a host without a way to where it came from
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker builds export b3:1f2e3d -o server-2.1.build
  stoker builds export b3:4c5b6a --since b3:1f2e3d | ssh other stoker builds import")]
pub(crate) struct Arguments {
    /// Its digest, or the beginning of it
    digest: String,
    /// A build that the receiver has: only what differs is written
    #[arg(long, value_name = "DIGEST")]
    since: Option<String>,
    /// A new file; `-` is standard output, which it is without it when that is no terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
}

fn unwritten(to: &str, error: &io::Error) -> Problem {
    let code = if error.kind() == io::ErrorKind::StorageFull { codes::NO_SPACE } else { codes::NOT_ALLOWED };
    Problem::new(code, format!("cannot write `{}`: {error}", clean(to)))
}

/// A file that gets its name when it is whole; gone if it does not become so.
struct Unready {
    file: BufWriter<std::fs::File>,
    fresh: PathBuf,
    to: PathBuf,
    done: bool,
}

impl Unready {
    fn new(to: &Path) -> io::Result<Self> {
        let mut fresh = to.as_os_str().to_owned();
        fresh.push(format!(".{}.part", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let file = std::fs::File::options().write(true).create_new(true).open(&fresh)?;
        Ok(Self { file: BufWriter::new(file), fresh, to: to.to_owned(), done: false })
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.fresh, &self.to)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.fresh);
        }
    }
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let to = arguments.output.as_deref().unwrap_or("-");
    if to == "-" && io::stdout().is_terminal() {
        let problem = Problem::new(codes::USAGE, "cannot write a build to a terminal");
        return Err(problem.fix("name a file: -o FILE").into());
    }
    let mut url = Client::root(&["builds", &arguments.digest, "export"]);
    if let Some(since) = &arguments.since {
        url.query_pairs_mut().append_pair("since", since);
    }
    let client = context.client()?;
    let asked = async {
        let mut answer = client.stream(url).await?;
        let wrong = |error: io::Error| unwritten(to, &error);
        let mut file = if to == "-" { None } else { Some(Unready::new(Path::new(to)).map_err(wrong)?) };
        let mut shown = Shown::new(context.out);
        let mut written = 0;
        loop {
            let piece = answer.chunk().await.map_err(|_| {
                Problem::new(codes::FAILED, "cannot export the build: the agent broke off")
                    .fix("stoker debug-log says why; nothing of the file is kept")
            })?;
            let Some(piece) = piece else { break };
            match &mut file {
                Some(file) => file.file.write_all(&piece).map_err(wrong)?,
                None => io::stdout().lock().write_all(&piece).map_err(wrong)?,
            }
            written += piece.len() as u64;
            shown.step("exporting", written, None);
        }
        shown.clear();
        match file {
            Some(file) => file.finish().map_err(wrong)?,
            None => io::stdout().lock().flush().map_err(wrong)?,
        }
        Ok(written)
    };
    let written = follow::interruptible(asked, || {
        Problem::new(codes::INTERRUPTED, "stopped: nothing of the export is kept")
    })
    .await?;
    context.out.talk(&format!("{} written", bytes(written)));
    Ok(())
}
