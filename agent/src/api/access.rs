//! Who may ask for what: the refusal of those who may not. Which right a route needs is in the table of [`super::routes`],
//! which rights a caller has is [`super::caller`]'s; the test here holds both against one table of routes and callers, so
//! that a route without a row there is a failure.

use axum::extract::Request;

use super::caller::{Caller, Right};
use crate::problem::{Problem, codes};

/// The header by which the command line says which command it is.
pub(crate) const COMMAND: &str = "stoker-command";

/// What the client says was typed. A word of its own, for people to read.
pub(super) fn command(request: &Request) -> Option<String> {
    let value = request.headers().get(COMMAND)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned()).filter(|text| !text.is_empty())
}

/// Why this caller may not have this; none where it may.
pub(super) fn refusal(right: Right, caller: &Caller) -> Option<Problem> {
    if caller.may(right) {
        return None;
    }
    let problem = match (caller.right, right) {
        (None, _) => Problem::new(codes::NOT_ALLOWED, "cannot do this: this user may not use the agent")
            .fix("become a member of the socket's group, or ask as root or as the agent's user"),
        (Some(_), Right::Admin) => {
            Problem::new(codes::NOT_ALLOWED, "cannot do this: it needs the right `admin`")
                .fix("ask as root or as the agent's user")
        }
        (Some(_), right) => {
            let title = format!("cannot do this: it needs the right `{}`", right.word());
            Problem::new(codes::NOT_ALLOWED, title)
                .fix("become a member of the socket's group, or ask as root or as the agent's user")
        }
    };
    Some(problem.evidence(format!("user {} (uid {})", caller.user, caller.uid)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::caller::Door;
    use super::super::routes::table;
    use super::*;

    /// Every route, with the weakest caller who may have it: `others` only where the settings let them look, then the
    /// `group` of the socket, then `root` and the agent's own user. What is not here is a failure.
    const WHO: &str = "
get /v1/version others
get /v1/openapi.json others
get /metrics others
post /v1/down root
get /v1/events group
get /v1/debug-log group
get /v1/charms others
get /v1/recipes others
get /v1/recipes/{charm}/versions group
get /v1/builds others
post /v1/builds group
get /v1/builds/usage others
post /v1/builds/collect group
post /v1/builds/verify group
get /v1/builds/{digest} others
get /v1/builds/{digest}/export group
post /v1/builds/import group
post /v1/inspect group
post /v1/align group
get /v1/models/{model}/changes others
post /v1/models/{model}/changes group
get /v1/models/{model}/changes/{n} others
get /v1/models/{model}/settled others
get /v1/models/{model}/status others
get /v1/models/{model}/events others
get /v1/models/{model}/why group
get /v1/models/{model}/kept group
get /v1/models/{model}/logs group
get /v1/models/{model}/actions/{id} group
get /v1/models/{model}/applications/{app}/resources others
get /v1/models/{model}/applications/{app}/releases others
get /v1/models/{model}/applications/{app}/config group
get /v1/models/{model}/applications/{app}/alignment others
get /v1/models/{model}/applications/{app}/actions others
get /v1/models/{model}/units/{app}/{n} group
get /v1/models/{model}/units/{app}/{n}/plan group
";

    const STRANGER: u32 = 4_000_000_001;
    const GROUP: u32 = 4_000_000_002;

    fn callers() -> [(&'static str, Caller); 5] {
        let shut = Door { group: Some(GROUP), others: false };
        let open = Door { others: true, ..shut };
        let of = |uid, gid, door| Caller::from_peer(uid, gid, None, door);
        [
            ("root", of(0, 0, shut)),
            ("group", of(STRANGER, GROUP, shut)),
            ("group", of(STRANGER, GROUP, open)),
            ("others", of(STRANGER, STRANGER, open)),
            ("nobody", of(STRANGER, STRANGER, shut)),
        ]
    }

    #[test]
    fn every_route_is_for_those_of_the_table_and_no_others() {
        let who: BTreeMap<(&str, &str), &str> = WHO
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let [method, path, who] = words.as_slice() else { return None };
                Some(((*method, *path), *who))
            })
            .collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let document: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut walked = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let least = who.get(&(method.as_str(), path.as_str()));
                let least = least.unwrap_or_else(|| panic!("{method} {path} has no row"));
                let route = table().into_iter().find(|route| route.method == method && route.path == path);
                let right = route.unwrap_or_else(|| panic!("{method} {path} is no route")).right;
                for (name, caller) in callers() {
                    let rank =
                        |name: &str| ["nobody", "others", "group", "root"].iter().position(|n| *n == name);
                    let may = rank(name) >= rank(least);
                    assert_eq!(refusal(right, &caller).is_none(), may, "{method} {path} by {name}");
                }
                walked += 1;
            }
        }
        assert_eq!(walked, who.len(), "a row is of no route");
    }

    #[test]
    fn who_may_nothing_is_not_even_told_what_there_is() {
        let [.., (_, nobody)] = callers();
        let problem = refusal(Right::Look, &nobody).unwrap();
        assert_eq!((problem.status, problem.exit_code()), (403, 4));
        assert!(problem.detail.contains(&STRANGER.to_string()) && !problem.fix.is_empty());
    }
}
