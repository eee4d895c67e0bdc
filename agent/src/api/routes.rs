//! The one table of routes: method, path, the right that it needs, what it says and answers, and its handler. The
//! router and the OpenAPI document are made from it, so neither can have a route that the other lacks.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::caller::{Caller, Right};
use super::{
    actions, align, applications, builds, changes, charms, events, kept, logs, moving, status, units, version,
};
use crate::core::Core;
use crate::problem::{Problem, codes};

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
    use Answer::{Bytes, Events, Json, Lines, Many, One, Progress};
    use Right::{Admin, Read, Write};
    let route = |method, path, right, says, query, body, answer, handler| Route { method, path, right, says, query, body, answer, handler };
    vec![
        route("get", "/v1/version", Read, "What runs here", &[], "", One("Version"), get(version::show)),
        route("get", "/v1/openapi.json", Read, "This document", &[], "", Json, get(version::document)),
        route("post", "/v1/down", Admin, "Stop all services, then end the agent", &[], "", Json, post(version::down)),
        route("get", "/v1/debug-log", Read, "The agent's log", &LOGS[1..], "", Lines, get(logs::debug)),
        route("get", "/v1/charms", Read, "The charms that can be deployed by name", &[], "", Json, get(charms::list)),
        route("get", "/v1/recipes", Read, "What charms' recipes can make", &[], "", Many("RecipeDoc"), get(charms::recipes)),
        route("get", "/v1/recipes/{charm}/versions", Read, "The versions that a charm's recipe can make, newest first", &[("resource", "string")], "", Json, get(charms::versions)),
        route("get", "/v1/builds", Read, "All builds", &[], "", Many("Build"), get(builds::list)),
        route("post", "/v1/builds", Write, "Add a build", &[], "AddBuild", Progress("Build"), post(builds::add)),
        route("get", "/v1/builds/usage", Read, "What builds take on the disk, what is shared counted once", &[], "", One("BuildsUsage"), get(builds::usage)),
        route("post", "/v1/builds/collect", Write, "Remove builds that nothing refers to, or say which", &[], "CollectBuilds", One("CollectedBuilds"), post(builds::collect)),
        route("post", "/v1/builds/verify", Write, "Hash all that builds are made of, and mend what is damaged", &[], "VerifyBuilds", Progress("VerifiedBuilds"), post(builds::verify)),
        route("get", "/v1/builds/{digest}", Read, "One build", &[], "", One("Build"), get(builds::show)),
        route("get", "/v1/builds/{digest}/export", Read, "A build as a stream, for another host or a file; without what the build `since` has", &[("since", "string")], "", Bytes, get(moving::export)),
        route("post", "/v1/builds/import", Write, "Take in the stream of a build", &[("charm", "string")], BYTES, Progress("Build"), post(moving::import)),
        route("post", "/v1/inspect", Write, "The facts of a build that is not kept", &[], "AddBuild", Json, post(builds::inspect)),
        route("post", "/v1/align", Write, "How a build fits what it would run with, before it is attached", &[], "AlignCheck", Progress("Alignment"), post(align::check)),
        route("get", "/v1/models/{model}/changes", Read, "The newest changes", &[], "", Many("ChangeStatus"), get(changes::list)),
        route("post", "/v1/models/{model}/changes", Write, "Change the model, or preview it", &[], "WriteRequest", Progress("WriteReply"), post(changes::write)),
        route("get", "/v1/models/{model}/changes/{n}", Read, "Where a change stands; waits at most `wait` milliseconds until it settles", WAIT, "", One("ChangeStatus"), get(changes::show)),
        route("get", "/v1/models/{model}/settled", Read, "Where all changes of an application, or of the model, stand", &[("app", "string"), ("wait", "integer")], "", One("ChangeStatus"), get(changes::settled)),
        route("get", "/v1/models/{model}/status", Read, "The model at a glance, in Juju's shape", &[("filter", "string")], "", Json, get(status::show)),
        route("get", "/v1/models/{model}/events", Read, "An event whenever the model has a new revision", &[], "", Events, get(events::follow)),
        route("get", "/v1/models/{model}/why", Read, "Why an application, unit or service is as it is", &[("subject", "string")], "", One("Why"), get(applications::why)),
        route("get", "/v1/models/{model}/kept", Read, "Kept data of removed units", &[], "", Many("Kept"), get(kept::list)),
        route("get", "/v1/models/{model}/logs", Read, "Logs of services and tasks", LOGS, "", Lines, get(logs::show)),
        route("get", "/v1/models/{model}/actions/{id}", Read, "An action; waits at most `wait` milliseconds until it ends", WAIT, "", One("ActionDoc"), get(actions::show)),
        route("get", "/v1/models/{model}/applications/{app}/resources", Read, "Resources of an application", &[], "", Many("ResourceDoc"), get(applications::resources)),
        route("get", "/v1/models/{model}/applications/{app}/releases", Read, "Releases of an application", &[], "", Many("ReleaseDoc"), get(applications::releases)),
        route("get", "/v1/models/{model}/applications/{app}/config", Read, "Options of an application", &[], "", Many("OptionDoc"), get(applications::config)),
        route("get", "/v1/models/{model}/applications/{app}/alignment", Read, "How an application is aligned, and what proves it", &[], "", One("Explained"), get(align::explain)),
        route("get", "/v1/models/{model}/applications/{app}/actions", Read, "Actions that an application knows", &[], "", Json, get(applications::actions)),
        route("get", "/v1/models/{model}/units/{app}/{n}", Read, "A unit in full", &[], "", One("UnitDoc"), get(units::show)),
        route("get", "/v1/models/{model}/units/{app}/{n}/plan", Read, "A unit's newest plan", &[], "", Json, get(units::plan)),
    ]
}

/// The router of the table: each route behind its right.
pub(super) fn router(core: Arc<Core>) -> Router {
    let mut router = Router::new();
    for route in table() {
        let right = route.right;
        let guard =
            middleware::from_fn(move |caller: Caller, request, next| allow(right, caller, request, next));
        router = router.route(route.path, route.handler.layer(guard));
    }
    router
        .fallback(async |request: Request| {
            Problem::new(
                codes::NOT_FOUND,
                format!("cannot answer `{}`: there is no such route", request.uri().path()),
            )
            .fix("see /v1/openapi.json")
        })
        .method_not_allowed_fallback(async |request: Request| {
            let asked = format!(
                "cannot {} `{}`: the route has other methods",
                request.method(),
                request.uri().path()
            );
            Problem { status: 405, ..Problem::new(codes::USAGE, asked).fix("see /v1/openapi.json") }
        })
        .with_state(core)
}

async fn allow(right: Right, caller: Caller, request: Request, next: Next) -> Response {
    if caller.may(right) {
        return next.run(request).await;
    }
    let problem = match caller.right {
        Some(_) => {
            Problem::new(codes::NOT_ALLOWED, format!("cannot do this: it needs the right `{}`", right.word()))
                .fix("ask as root or as the agent's user")
        }
        None => Problem::new(codes::NOT_ALLOWED, "cannot do this: this user may not use the agent")
            .fix("become a member of the socket's group, or ask as root or as the agent's user"),
    };
    problem.evidence(format!("user {} (uid {})", caller.user, caller.uid)).into_response()
}
