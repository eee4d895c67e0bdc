//! Where logs are: of services, tasks and actions, by application, unit or service; and the agent's own.

use std::path::PathBuf;

use stoker_host::services::Output;
use stoker_model::generation::split;

use super::Core;
use super::lookup::{find_app, find_unit_or_leader};
use crate::problem::{Problem, codes};

impl Core {
    /// The logs behind `APP`, `UNIT` or `UNIT/SERVICE`, each with the name it is shown under.
    pub(crate) fn logs(&self, model: &str, target: &str) -> Result<Vec<(String, Output)>, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        let parts: Vec<&str> = target.split('/').collect();
        let (app, unit, service) = match parts.as_slice() {
            [app] => (*app, None, None),
            [app, n] => (*app, Some(format!("{app}/{n}")), None),
            [app, n, service] => (*app, Some(format!("{app}/{n}")), Some(*service)),
            _ => {
                let title = format!("cannot show the log of `{target}`: expected APP, UNIT or UNIT/SERVICE");
                return Err(Problem::new(codes::INVALID_VALUE, title));
            }
        };
        match &unit {
            None => find_app(&snapshot, app, "show the log of").map(drop)?,
            Some(unit) => find_unit_or_leader(&snapshot, unit, "show the log of").map(drop)?,
        }
        let known = self.supervisor.names("").map_err(|e| Problem::internal("cannot list services", &e))?;
        let mut logs = Vec::new();
        let mut names = Vec::new();
        for full in known {
            let Some((id, short)) = crate::unit::split_name(&full) else { continue };
            if id.app != app || unit.as_ref().is_some_and(|unit| *unit != id.to_string()) {
                continue;
            }
            let shown = match short.split_once('.') {
                Some(("t", task)) => task.to_owned(),
                Some(("a", action)) => format!("action-{action}"),
                _ => short.to_owned(),
            };
            names.push(shown.clone());
            // Without its generation a name means all of them.
            if service.is_none_or(|wanted| wanted == shown || wanted == split(&shown).0) {
                logs.push((format!("{id}/{shown}"), self.supervisor.output(&full)));
            }
        }
        if let (Some(service), true) = (service, logs.is_empty()) {
            let title = format!("cannot show the log of `{target}`: the unit has no `{service}`");
            return Err(
                Problem::new(codes::NOT_FOUND, title).evidence(format!("it has: {}", names.join(", ")))
            );
        }
        logs.sort();
        Ok(logs)
    }

    /// The agent's own log.
    pub(crate) fn debug_log_path(&self) -> PathBuf {
        self.paths.log.clone()
    }
}
