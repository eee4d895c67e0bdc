//! `ended RECORD`: a unit's last step: writes down how its service ended, while systemd still says so.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use stoker_host::services::record::Record;
use stoker_host::services::systemd::ended::{Ended, invocation_of, oom_kills_of_own_group};

use crate::complain;

/// Writes the end of the service of the record. A record that was removed meanwhile is nobody's.
pub(crate) fn ended(dir: &Path) -> ExitCode {
    let record = Record::new(dir);
    let written = record.spec().and_then(|spec| {
        let Some(spec) = spec else { return Ok(()) };
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let out_of_memory = oom_kills_of_own_group().is_some_and(|kills| kills > 0);
        Ended::new(&spec, &env.collect(), invocation_of(&spec.name), at_ms, out_of_memory).write(record.dir())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write how `{}` ended: {error}", dir.display()));
            ExitCode::FAILURE
        }
    }
}
