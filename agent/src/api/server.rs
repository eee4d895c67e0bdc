//! The socket: who may connect, one task a connection, an end that does not hang. Owns the listener; must not know
//! what is asked.

use std::convert::Infallible;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::trace::TraceLayer;

use super::caller::{Caller, Door};
use super::routes;
use crate::core::Core;
use crate::problem::{Problem, codes};
use crate::settings::Paths;
use crate::settings::paths::SocketPath;

/// How long answers in hand may take once the agent ends; who follows something is cut off then.
const FAREWELL: Duration = Duration::from_secs(2);

/// The agent's listener. The caller holds the folder's lock, so what lies at the socket's path is a leftover.
///
/// Installed, it is for root and the group `stoker`; below `--dir` for the agent's own user alone, or with a root agent
/// for root's group; with `others` everybody may connect, to look.
pub(crate) fn bind(paths: &Paths, others: bool) -> Result<(UnixListener, Door), Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(codes::FOLDER, format!("cannot listen on `{}`: {error}", paths.socket.display()))
    };
    // Under another name until its mode is set: nobody connects to a socket that is too open for a moment.
    let fresh = paths.socket.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let way = SocketPath::of(&fresh).map_err(failed)?;
    let listener = UnixListener::bind(way.path()).map_err(failed)?;
    let private = paths.local && !nix::unistd::geteuid().is_root();
    if !paths.local
        && let Ok(Some(group)) = nix::unistd::Group::from_name("stoker")
    {
        std::os::unix::fs::chown(&fresh, None, Some(group.gid.as_raw())).map_err(failed)?;
    }
    let mode = match (others, private) {
        (true, _) => 0o666,
        (false, true) => 0o600,
        (false, false) => 0o660,
    };
    let found = std::fs::metadata(&fresh).map_err(failed)?;
    let door = Door { group: (!private).then(|| found.gid()), others };
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    std::fs::rename(&fresh, &paths.socket).map_err(failed)?;
    Ok((listener, door))
}

/// Answers until `shutdown`; then finishes what is in hand and removes the socket.
pub(crate) async fn serve(
    (listener, door): (UnixListener, Door),
    socket: PathBuf,
    core: Arc<Core>,
    shutdown: CancellationToken,
) {
    let router = routes::router(core).layer(TraceLayer::new_for_http());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, door, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, say: others end and give theirs back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // First the name: whoever asks now is told that nobody is there.
    if let Err(error) = std::fs::remove_file(socket) {
        tracing::debug!(%error, "the socket was gone already");
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(FAREWELL, connections.wait()).await.is_err() {
        tracing::debug!(left = connections.len(), "connections are cut off");
    }
}

async fn connection(stream: UnixStream, door: Door, router: axum::Router, shutdown: CancellationToken) {
    let Ok(peer) = stream.peer_cred() else { return };
    let caller = Caller::from_peer(peer.uid(), peer.gid(), peer.pid(), door);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (mut router, caller) = (router.clone(), caller.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(caller);
            let request = Request::from_parts(parts, Body::new(body));
            let answer: Result<Response<Body>, Infallible> =
                tower_service::Service::call(&mut router, request).await;
            answer
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(FAREWELL, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
