//! The tool socket: one for the agent, a context per run behind an unguessable token that ends with the run.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stoker_hooks::tools::{self, Call, Level};
use stoker_hooks::wire::{MAX_REQUEST, Request, Response};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What a run may ask for and what it handed over.
#[derive(Debug)]
pub(crate) struct Context {
    /// Whose run it is, for the log: `web/0`.
    pub unit: String,
    /// The observation, as JSON.
    pub observation: Vec<u8>,
    /// The plan, as handed over last.
    pub plan: Mutex<Option<Vec<u8>>>,
    /// The user id that the caller must have.
    pub uid: u32,
}

/// The live contexts by token.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contexts(Arc<Mutex<HashMap<String, Arc<Context>>>>);

impl Contexts {
    pub(crate) fn insert(&self, token: String, context: Arc<Context>) {
        self.lock().insert(token, context);
    }

    pub(crate) fn remove(&self, token: &str) {
        self.lock().remove(token);
    }

    fn get(&self, token: &str) -> Option<Arc<Context>> {
        self.lock().get(token).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Context>>> {
        // A panic while holding it leaves a whole map behind: insert and remove cannot be half done.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Binds the socket in `folder` and serves it. Returns the path to give to charms: short enough for the kernel's
/// limit, by a link in the temporary folder where the real one is too long.
pub(crate) fn serve(folder: &Path, contexts: Contexts) -> io::Result<PathBuf> {
    let real = folder.join("hook.sock");
    let path = short(folder, &real)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // Charms run as a user of their own; the token is what lets them in, and the peer's user id is compared.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let contexts = contexts.clone();
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &contexts).await {
                    tracing::debug!(%error, "a tool's connection ended early");
                }
            });
        }
    });
    Ok(path)
}

fn short(folder: &Path, real: &Path) -> io::Result<PathBuf> {
    if real.as_os_str().len() <= 100 {
        return Ok(real.to_owned());
    }
    let name = stoker_model::ids::Digest::of(folder.as_os_str().as_encoded_bytes()).short();
    let link = std::env::temp_dir().join(format!("stoker-{name}"));
    match std::os::unix::fs::symlink(folder, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::read_link(&link)? != folder {
                return Err(error);
            }
        }
        done => done?,
    }
    Ok(link.join("hook.sock"))
}

async fn answer(stream: UnixStream, contexts: &Contexts) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let limit = MAX_REQUEST as u64 + 1;
        if (&mut read).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let response = match Request::decode(&line) {
            Ok(request) => respond(&request, uid, contexts),
            Err(error) => Response::failed(1, error),
        };
        write.write_all(&response.encode().map_err(io::Error::other)?).await?;
    }
}

fn respond(request: &Request, uid: u32, contexts: &Contexts) -> Response {
    let Some(context) = contexts.get(&request.token).filter(|context| context.uid == uid || uid == 0) else {
        return Response::failed(1, "bad request: wrong context ID");
    };
    match tools::parse(&request.tool, &request.args) {
        Err(error) => Response::failed(2, error),
        Ok(Call::Help(text)) => Response::done(text.as_bytes().to_vec()),
        Ok(Call::Observe) => Response::done(context.observation.clone()),
        Ok(Call::Plan) => match &request.stdin {
            None => Response::ask_stdin(),
            Some(plan) => {
                let mut slot = context.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *slot = Some(plan.0.clone());
                Response::done(Vec::new())
            }
        },
        Ok(Call::Log(line)) => {
            let unit = &context.unit;
            // A charm's words are shown escaped, so that they cannot forge a line or drive a terminal.
            let said = line.message.escape_debug();
            match line.level {
                Level::Trace => tracing::trace!(target: "charm", %unit, "{said}"),
                Level::Debug => tracing::debug!(target: "charm", %unit, "{said}"),
                Level::Info => tracing::info!(target: "charm", %unit, "{said}"),
                Level::Warning => tracing::warn!(target: "charm", %unit, "{said}"),
                Level::Error | Level::Critical => tracing::error!(target: "charm", %unit, "{said}"),
            }
            Response::done(Vec::new())
        }
    }
}
