//! What a service does, from what systemd says and what is written down. Pure.

use std::collections::BTreeMap;

use super::bus::Seen;
use super::ended::{self, Ended};
use super::held;
use crate::services::{Limits, Observed, Phase};

/// What is written down about a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The digest of the spec that its unit was made from.
    pub digest: Option<String>,
    /// Whose it is.
    pub mark: Option<BTreeMap<String, String>>,
    /// What it may use.
    pub limits: Option<Limits>,
    /// It was stopped on request.
    pub halted: bool,
    /// It is one that is started again when it fails.
    pub restarts: bool,
    /// How it last ended, since it was started on request.
    pub ended: Option<Ended>,
}

/// Whether systemd gave it up since it was started too often: what it starts again does not stay failed otherwise, but
/// for a stop that went wrong.
pub(super) fn given_up(seen: &Seen, restarts: bool, halted: bool) -> bool {
    seen.active == "failed" && restarts && !halted
}

/// Both together.
pub(super) fn observed(name: &str, seen: &Seen, known: Known) -> Observed {
    let ended = known.ended.as_ref();
    let phase = phase(seen, &known);
    let exit = ended.map(|ended| ended.exit);
    let reason = exit.and_then(|exit| exit.code).and_then(ended::in_words).map(str::to_owned);
    let unenforced = match known.limits {
        Some(limits) if seen.pid > 0 => held::unenforced(limits, seen.pid, &seen.group),
        _ => Vec::new(),
    };
    Observed {
        digest: known.digest.unwrap_or_default(),
        phase,
        pid: (seen.pid > 0).then_some(seen.pid),
        started_ms: (seen.started_us > 0).then_some(seen.started_us / 1000),
        restarts: seen.restarts,
        exit,
        unenforced,
        memory_events: if seen.pid > 0 { held::memory_events(&seen.group) } else { None },
        log_from: seen.started_us,
        reason,
        mark: known.mark.unwrap_or_default(),
        ..Observed::absent(name)
    }
}

fn phase(seen: &Seen, known: &Known) -> Phase {
    if seen.waits() {
        return Phase::Backoff;
    }
    match seen.active.as_str() {
        "activating" => return Phase::Starting,
        // One that is about to end has not ended.
        _ if seen.has_processes() => return Phase::Running,
        _ => {}
    }
    match &known.ended {
        _ if known.halted => Phase::Stopped,
        _ if given_up(seen, known.restarts, known.halted) => Phase::Backoff,
        Some(ended) if ended.stopped => Phase::Stopped,
        // systemd takes it from auto-restart to the start by way of being dead, for a moment.
        Some(ended) if known.restarts && !ended.exit.success => Phase::Backoff,
        Some(ended) if ended.exit.success => Phase::Exited,
        // It never ran, or the host went down under it.
        None if seen.active != "failed" => Phase::Stopped,
        Some(_) | None => Phase::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::spec::ServiceSpec;

    fn seen(active: &str, sub: &str, result: &str) -> Seen {
        Seen { active: active.into(), sub: sub.into(), result: result.into(), ..Seen::default() }
    }

    fn ended(result: &str, how: &str, status: &str) -> Ended {
        let env = [("SERVICE_RESULT", result), ("EXIT_CODE", how), ("EXIT_STATUS", status)];
        let env = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let spec = ServiceSpec { success: vec![0], ..ServiceSpec::new("a", "d", vec!["x".into()]) };
        Ended::new(&spec, &env, String::new(), 1, false)
    }

    #[test]
    fn each_state_is_a_phase() {
        let (good, bad) = (ended("success", "exited", "0"), ended("exit-code", "exited", "1"));
        let stopped = ended("success", "killed", "TERM");
        let task = |ended: Option<&Ended>| Known { ended: ended.cloned(), ..Known::default() };
        let service = |ended: Option<&Ended>| Known { restarts: true, ..task(ended) };
        let halted = |ended: Option<&Ended>| Known { halted: true, ..service(ended) };
        for (seen, known, expected) in [
            (seen("active", "running", "success"), service(None), Phase::Running),
            (seen("active", "running", "success"), service(Some(&bad)), Phase::Running),
            (seen("activating", "start", "success"), service(None), Phase::Starting),
            (seen("activating", "auto-restart", "exit-code"), service(Some(&bad)), Phase::Backoff),
            (seen("deactivating", "stop-sigterm", "success"), halted(None), Phase::Running),
            (seen("inactive", "dead", "success"), halted(Some(&bad)), Phase::Stopped),
            (seen("inactive", "dead", "success"), service(Some(&good)), Phase::Exited),
            (seen("inactive", "dead", "exit-code"), service(Some(&bad)), Phase::Backoff),
            (seen("failed", "failed", "exit-code"), task(Some(&bad)), Phase::Failed),
            (seen("failed", "failed", "exit-code"), task(None), Phase::Failed),
            // Started too often.
            (seen("failed", "failed", "exit-code"), service(Some(&bad)), Phase::Backoff),
            (seen("failed", "failed", "exit-code"), halted(Some(&bad)), Phase::Stopped),
            // Not loaded: it has never run, it ran and nobody but the record knows, or the host went down under it.
            (Seen::default(), service(None), Phase::Stopped),
            (Seen::default(), task(Some(&good)), Phase::Exited),
            (Seen::default(), task(Some(&bad)), Phase::Failed),
            (Seen::default(), task(Some(&stopped)), Phase::Stopped),
        ] {
            assert_eq!(phase(&seen, &known), expected, "{seen:?} {known:?}");
        }
    }

    #[test]
    fn systemd_s_own_exit_codes_have_words() {
        let known =
            |code: &str| Known { ended: Some(ended("exit-code", "exited", code)), ..Known::default() };
        let seen = seen("activating", "auto-restart", "exit-code");
        assert!(observed("a", &seen, known("203")).reason.unwrap().contains("program"));
        assert_eq!(observed("a", &seen, known("1")).reason, None);
    }
}
