//! `stoker builds import`.

use std::io::{self, Read as _};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use crate::api::types::Build;
use crate::cli::client::Client;
use crate::cli::{Context, End, follow, source};
use crate::problem::{Problem, codes};

/// Bytes of a piece.
const PIECE: usize = 128 * 1024;

/// Take in what `builds export` wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker builds import server-2.1.build
  ssh other stoker builds export b3:4c5b6a --since b3:1f2e3d | stoker builds import -")]
pub(crate) struct Arguments {
    /// A file; `-` or none is standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: String,
    /// The charm that reads what it is; all are tried without it
    #[arg(long)]
    charm: Option<String>,
}

/// Standard input as it comes. On a thread that nobody waits for: whoever writes there may go on for long.
fn standard_input() -> impl Stream<Item = io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut from = io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE];
            let read = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(piece)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) })
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Build, End> {
    let charm = arguments.charm.as_deref().map(source::charm).transpose()?;
    let mut url = Client::root(&["builds", "import"]);
    if let Some(charm) = &charm {
        url.query_pairs_mut().append_pair("charm", charm);
    }
    let body = if arguments.file == "-" {
        reqwest::Body::wrap_stream(standard_input())
    } else {
        let path = source::existing(&arguments.file)?;
        let file = tokio::fs::File::open(&path).await.map_err(|error| {
            Problem::new(codes::NOT_ALLOWED, format!("cannot read `{}`: {error}", arguments.file))
        })?;
        reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(file, PIECE))
    };
    let client = context.client()?;
    let asked = async { super::taken_in(client.post_bytes(url, body).await?, context).await };
    let imported = follow::interruptible(asked, || {
        Problem::new(codes::INTERRUPTED, "stopped: what was verified is passed over the next time")
            .fix("import it again")
    })
    .await?;
    Ok(imported)
}
