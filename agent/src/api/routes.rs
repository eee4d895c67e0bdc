//! The one table of routes: method, path, the right that it needs, what it says and answers, and its handler. The
//! router and the OpenAPI document are made from it, so neither can have a route that the other lacks.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::caller::{Caller, Right};
use super::stream::EndsLater;
use super::{
    access, actions, align, applications, audit, builds, changes, charms, events, kept, logs, metrics,
    moving, status, units, version,
};
use crate::core::Core;
use crate::problem::{Ended, Problem, codes};

/// What a route answers with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// One document of this schema.
    One(&'static str),
    /// A list of documents of this schema.
    Many(&'static str),
    /// A JSON document whose shape is not ours alone.
    Json,
    /// One document of this schema, or lines of `Progress` where `application/jsonl` is accepted.
    Progress(&'static str),
    /// Lines of JSON, `{"source", "line"}`.
    Lines,
    /// Bytes of a form of their own.
    Bytes,
    /// Server-sent events.
    Events,
    /// Text.
    Text,
}

/// A route.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub right: Right,
    pub says: &'static str,
    /// Names in the query string, with the type each.
    pub query: &'static [(&'static str, &'static str)],
    /// The body's schema; empty when there is none.
    pub body: &'static str,
    pub answer: Answer,
    pub handler: MethodRouter<Arc<Core>>,
}

/// A body that is no JSON.
pub(super) const BYTES: &str = "bytes";
const WAIT: &[(&str, &str)] = &[("wait", "integer")];
const LOGS: &[(&str, &str)] = &[("target", "string"), ("follow", "boolean"), ("lines", "integer")];

/// All of them.
#[rustfmt::skip]
pub(super) fn table() -> Vec<Route> {
    use Answer::{Bytes, Events, Json, Lines, Many, One, Progress, Text};
    use Right::{Admin, Look, Read, Write};
    let route = |method, path, right, says, query, body, answer, handler| Route { method, path, right, says, query, body, answer, handler };
    vec![
        route("get", "/v1/version", Look, "What runs here", &[], "", One("Version"), get(version::show)),
        route("get", "/v1/openapi.json", Look, "This document", &[], "", Json, get(version::document)),
        route("get", "/metrics", Look, "What a Prometheus reads", &[], "", Text, get(metrics::show)),
        route("post", "/v1/down", Admin, "Stop all services, then end the agent", &[], "", Json, post(version::down)),
        route("get", "/v1/events", Read, "Who asked for what, when and from where, oldest first", &[("app", "string"), ("since", "integer"), ("most", "integer")], "", Many("Event"), get(audit::list)),
        route("get", "/v1/debug-log", Read, "The agent's log", &LOGS[1..], "", Lines, get(logs::debug)),
        route("get", "/v1/charms", Look, "The charms that can be deployed by name", &[], "", Json, get(charms::list)),
        route("get", "/v1/recipes", Look, "What charms' recipes can make", &[], "", Many("RecipeDoc"), get(charms::recipes)),
        route("get", "/v1/recipes/{charm}/versions", Read, "The versions that a charm's recipe can make, newest first", &[("resource", "string")], "", Json, get(charms::versions)),
        route("get", "/v1/builds", Look, "All builds", &[], "", Many("Build"), get(builds::list)),
        route("post", "/v1/builds", Write, "Add a build", &[], "AddBuild", Progress("Build"), post(builds::add)),
        route("get", "/v1/builds/usage", Look, "What builds take on the disk, what is shared counted once", &[], "", One("BuildsUsage"), get(builds::usage)),
        route("post", "/v1/builds/collect", Write, "Remove builds that nothing refers to, or say which", &[], "CollectBuilds", One("CollectedBuilds"), post(builds::collect)),
        route("post", "/v1/builds/verify", Write, "Hash all that builds are made of, and mend what is damaged", &[], "VerifyBuilds", Progress("VerifiedBuilds"), post(builds::verify)),
        route("get", "/v1/builds/{digest}", Look, "One build", &[], "", One("Build"), get(builds::show)),
        route("get", "/v1/builds/{digest}/export", Read, "A build as a stream, for another host or a file; without what the build `since` has", &[("since", "string")], "", Bytes, get(moving::export)),
        route("post", "/v1/builds/import", Write, "Take in the stream of a build", &[("charm", "string")], BYTES, Progress("Build"), post(moving::import)),
        route("post", "/v1/inspect", Write, "The facts of a build that is not kept", &[], "AddBuild", Json, post(builds::inspect)),
        route("post", "/v1/align", Write, "How a build fits what it would run with, before it is attached", &[], "AlignCheck", Progress("Alignment"), post(align::check)),
        route("get", "/v1/models/{model}/changes", Look, "The newest changes", &[], "", Many("ChangeStatus"), get(changes::list)),
        route("post", "/v1/models/{model}/changes", Write, "Change the model, or preview it", &[], "WriteRequest", Progress("WriteReply"), post(changes::write)),
        route("get", "/v1/models/{model}/changes/{n}", Look, "Where a change stands; waits at most `wait` milliseconds until it settles", WAIT, "", One("ChangeStatus"), get(changes::show)),
        route("get", "/v1/models/{model}/settled", Look, "Where all changes of an application, or of the model, stand", &[("app", "string"), ("wait", "integer")], "", One("ChangeStatus"), get(changes::settled)),
        route("get", "/v1/models/{model}/status", Look, "The model at a glance, in Juju's shape", &[("filter", "string")], "", Json, get(status::show)),
        route("get", "/v1/models/{model}/events", Look, "An event whenever the model has a new revision", &[], "", Events, get(events::follow)),
        route("get", "/v1/models/{model}/why", Read, "Why an application, unit or service is as it is", &[("subject", "string")], "", One("Why"), get(applications::why)),
        route("get", "/v1/models/{model}/kept", Read, "Kept data of removed units", &[], "", Many("Kept"), get(kept::list)),
        route("get", "/v1/models/{model}/logs", Read, "Logs of services and tasks", LOGS, "", Lines, get(logs::show)),
        route("get", "/v1/models/{model}/actions/{id}", Read, "An action; waits at most `wait` milliseconds until it ends", WAIT, "", One("ActionDoc"), get(actions::show)),
        route("get", "/v1/models/{model}/applications/{app}/resources", Look, "Resources of an application", &[], "", Many("ResourceDoc"), get(applications::resources)),
        route("get", "/v1/models/{model}/applications/{app}/releases", Look, "Releases of an application", &[], "", Many("ReleaseDoc"), get(applications::releases)),
        route("get", "/v1/models/{model}/applications/{app}/config", Read, "Options of an application", &[], "", Many("OptionDoc"), get(applications::config)),
        route("get", "/v1/models/{model}/applications/{app}/alignment", Look, "How an application is aligned, and what proves it", &[], "", One("Explained"), get(align::explain)),
        route("get", "/v1/models/{model}/applications/{app}/actions", Look, "Actions that an application knows", &[], "", Json, get(applications::actions)),
        route("get", "/v1/models/{model}/units/{app}/{n}", Read, "A unit in full", &[], "", One("UnitDoc"), get(units::show)),
        route("get", "/v1/models/{model}/units/{app}/{n}/plan", Read, "A unit's newest plan", &[], "", Json, get(units::plan)),
    ]
}

/// The router of the table: each route behind its right, and what is asked for noted.
pub(super) fn router(core: Arc<Core>) -> Router {
    let mut router = Router::new();
    for route in table() {
        router = router.route(route.path, guarded(&route, route.handler.clone(), &core));
    }
    router.fallback(unknown).method_not_allowed_fallback(other_method).with_state(core)
}

fn guarded(route: &Route, handler: MethodRouter<Arc<Core>>, core: &Arc<Core>) -> MethodRouter<Arc<Core>> {
    let asks = Asks { right: route.right, changes: route.body == "WriteRequest", says: route.says };
    let core = Arc::clone(core);
    handler.layer(middleware::from_fn(move |caller: Caller, request: Request, next: Next| {
        let core = Arc::clone(&core);
        async move {
            let refused = access::refusal(asks.right, &caller);
            // A change is told by its own record, and one that failed by its handler, who knows whether it was a preview.
            if refused.is_none() && (asks.right < Right::Write || asks.changes) {
                return next.run(request).await;
            }
            let command = access::command(&request).unwrap_or_else(|| asks.says.to_owned());
            let answer = match refused {
                Some(problem) => problem.into_response(),
                None => next.run(request).await,
            };
            note(core, caller, command, &answer);
            answer
        }
    }))
}

#[derive(Clone, Copy)]
struct Asks {
    right: Right,
    changes: bool,
    says: &'static str,
}

fn note(core: Arc<Core>, caller: Caller, command: String, answer: &Response) {
    if let Some(EndsLater(mut later)) = answer.extensions().get::<EndsLater>().cloned() {
        tokio::spawn(async move {
            // A request whose end is not told was given up by whoever asked.
            let ended = later.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
            let code = ended.map_or_else(|| Some(codes::INTERRUPTED.id.to_owned()), |ended| ended.0);
            core.audit.note(&caller, &command, code.as_deref());
        });
        return;
    }
    let code = answer.extensions().get::<Ended>().and_then(|ended| ended.0.clone());
    core.audit.note(&caller, &command, code.as_deref());
}

/// No route: told to those who may use the agent at all.
async fn unknown(caller: Caller, request: Request) -> Problem {
    access::refusal(Right::Look, &caller).unwrap_or_else(|| {
        Problem::new(
            codes::NOT_FOUND,
            format!("cannot answer `{}`: there is no such route", request.uri().path()),
        )
        .fix("see /v1/openapi.json")
    })
}

async fn other_method(caller: Caller, request: Request) -> Problem {
    access::refusal(Right::Look, &caller).unwrap_or_else(|| {
        let asked =
            format!("cannot {} `{}`: the route has other methods", request.method(), request.uri().path());
        Problem { status: 405, ..Problem::new(codes::USAGE, asked).fix("see /v1/openapi.json") }
    })
}
