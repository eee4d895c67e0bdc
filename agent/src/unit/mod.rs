//! The unit worker: one task a unit of this host. It looks, decides (`stoker_model::next`), does one operation, and
//! looks again. Events only wake it; every pass is worked out from what is stored and what runs.

mod actions;
mod bind;
mod busy;
mod generations;
mod inputs;
mod launch;
mod moves;
mod pass;
mod removal;
mod render;
mod secrets;
mod services;
mod simulate;
mod tasks;
mod trouble;
mod worker;

pub(crate) use self::removal::{KeptMeta, kept};
pub(crate) use self::simulate::simulate;
pub(crate) use self::worker::spawn;

use stoker_model::ids::UnitId;

use crate::core::MODEL;

/// The supervisor's name for a unit's service, task (`t.NAME`) or action (`a.ID`).
pub(crate) fn service_name(unit: &UnitId, service: &str) -> String {
    format!("{}{service}", name_prefix(unit))
}

/// The prefix of all of a unit's names with the supervisor.
pub(crate) fn name_prefix(unit: &UnitId) -> String {
    format!("stoker-{MODEL}-{}-", unit.dashed())
}

/// The unit and the service behind a supervisor's name: the number is the first part that is only digits.
pub(crate) fn split_name(name: &str) -> Option<(UnitId, &str)> {
    let rest = name.strip_prefix("stoker-")?.strip_prefix(MODEL)?.strip_prefix('-')?;
    let parts: Vec<&str> = rest.split('-').collect();
    let at = parts.iter().position(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))?;
    let unit = UnitId::new(parts[..at].join("-"), parts[at].parse().ok()?);
    let service = rest.get(unit.dashed().len() + 1..)?;
    (!service.is_empty()).then_some((unit, service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_back() {
        let unit = UnitId::new("a-b2", 10);
        for service in ["web", "name-node", "t.check-1", "a.7"] {
            let name = service_name(&unit, service);
            assert_eq!(split_name(&name), Some((unit.clone(), service)), "{name}");
        }
        assert_eq!(split_name("stoker-default-a"), None);
        assert_eq!(split_name("other"), None);
    }
}
