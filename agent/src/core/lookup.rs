//! Applications and units by name. Owns the problem that there is none, with what was probably meant.

use std::sync::Arc;

use stoker_model::ids::UnitId;
use stoker_model::record::{App, Unit};
use stoker_model::snapshot::Snapshot;

use crate::problem::{Problem, codes};

/// The application `name`; `what` is the verb of the problem: cannot `what` `name`.
pub(crate) fn find_app<'a>(snapshot: &'a Snapshot, name: &str, what: &str) -> Result<&'a Arc<App>, Problem> {
    snapshot.apps.get(name).ok_or_else(|| {
        Problem::new(codes::NOT_FOUND, format!("cannot {what} `{name}`: there is no such application"))
            .fix("stoker status")
            .did_you_mean(name, snapshot.apps.keys().map(String::as_str))
    })
}

/// The unit `text`, as in `web/0`.
pub(crate) fn find_unit<'a>(
    snapshot: &'a Snapshot,
    text: &str,
    what: &str,
) -> Result<&'a Arc<Unit>, Problem> {
    let id = text.parse::<UnitId>().ok();
    id.and_then(|id| snapshot.units.get(&id)).ok_or_else(|| {
        let units: Vec<String> = snapshot.units.keys().map(ToString::to_string).collect();
        Problem::new(codes::NOT_FOUND, format!("cannot {what} `{text}`: there is no such unit"))
            .fix("stoker status")
            .did_you_mean(text, units.iter().map(String::as_str))
    })
}

/// The same, where `APP/leader` names the unit that leads.
pub(crate) fn find_unit_or_leader<'a>(
    snapshot: &'a Snapshot,
    text: &str,
    what: &str,
) -> Result<&'a Arc<Unit>, Problem> {
    let leader = text.strip_suffix("/leader").and_then(|app| snapshot.leader_of(app));
    let leads = leader.and_then(|id| snapshot.units.get(&id));
    leads.map_or_else(|| find_unit(snapshot, text, what), Ok)
}
