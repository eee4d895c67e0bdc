//! Starting, stopping and forgetting units: what is written before systemd is asked, and what is confirmed after.
//!
//! Each step can be cut off anywhere: a start writes all that it needs before anything runs, a stop first sees to it
//! that nothing comes up again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bus::Seen;
use super::ended::Ended;
use super::files::unit_name;
use super::unit::{self, Around};
use super::{GONE, HALTED, Inner, make_folder, restarts, state};
use crate::fs::failpoint::hit;
use crate::fs::{atomic_write, sync_folder};
use crate::services::ServiceError;
use crate::services::spec::ServiceSpec;

/// How long systemd may take to stop a unit beyond what its steps take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a unit is looked at again whose job has ended while it has not.
const MOMENT: Duration = Duration::from_millis(20);
/// How long a service that systemd gave up waits at least before it is started again.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// How long at most: each time it is given up again the wait doubles.
const LONGEST: Duration = Duration::from_mins(10);

impl Inner {
    /// Starts the service; the caller has its turn.
    pub(super) async fn start_now(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        let name = &spec.name;
        let failed = |reason: String| ServiceError::Start { name: name.clone(), reason };
        let record = self.record(name);
        let around = Around { record: record.dir(), shim: &self.shim, version: self.version };
        let text = unit::render(spec, &around)
            .map_err(|reason| ServiceError::BadSpec { name: name.clone(), reason })?;
        let own = self.own(name)?;
        let seen = self.seen(name).await?;
        let given_up = self.gave_up(name, &seen)?;
        if seen.has_processes() || seen.waits() || given_up {
            let same = own.as_ref().is_some_and(|(own, _)| own.digest == spec.digest);
            if same && !self.is_halted(name) && seen.active != "deactivating" {
                // Adopted where its record is lost: without it the next boot would have no secrets for it.
                if self.spec(name).ok().flatten().is_none() {
                    self.write_record(spec)?;
                }
                return self.enable(spec);
            }
            self.stop_now(name).await?;
        }
        given_up_now(self).remove(name);
        self.write_record(spec)?;
        hit("services.start.after-spec");
        self.files
            .write(name, &text, spec.oneshot.is_some())
            .map_err(|source| unit_file("write", name, source))?;
        self.enable(spec)?;
        let unit = unit_name(name);
        self.bus.load(&unit).await.map_err(ServiceError::Systemd)?.map_err(failed)?;
        // How often it was started before is over with a start on request.
        self.bus.reset(&unit).await.map_err(ServiceError::Systemd)?;
        hit("services.start.spawned");
        let result = self.bus.start(&unit).await.map_err(ServiceError::Systemd)?;
        hit("services.start.ready");
        match result.as_str() {
            // A program that does not begin is the service's own end: its state says the rest.
            "done" | "failed" | "" | "skipped" => Ok(()),
            "dependency" => Err(failed("a file system that it needs cannot be mounted".into())),
            other => Err(failed(format!("systemd ended its start as `{other}`"))),
        }
    }

    fn enable(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        if spec.oneshot.is_some() {
            return Ok(());
        }
        self.files.enable(&spec.name).map_err(|source| unit_file("enable", &spec.name, source))
    }

    /// Writes what systemd needs at each start of the service, and takes back what its last run left.
    fn write_record(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        let record = self.record(&spec.name);
        let failed = |verb, path: PathBuf| move |source| ServiceError::Record { verb, path, source };
        make_folder(record.dir()).map_err(failed("create", record.dir().to_owned()))?;
        hit("services.start.before-spec");
        record.write_spec(spec).map_err(failed("write", record.spec_path()))?;
        let secrets = record.dir().join("env");
        atomic_write(&secrets, unit::secrets(spec).as_bytes(), 0o600, None)
            .map_err(failed("write", secrets))?;
        Ended::remove(record.dir()).map_err(failed("change", record.dir().to_owned()))?;
        for old in [record.stdout(), record.dir().join(HALTED)] {
            match std::fs::remove_file(&old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", old)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Stops the service; the caller has its turn.
    pub(super) async fn stop_now(&self, name: &str) -> Result<(), ServiceError> {
        let stuck = |reason: String| ServiceError::Stop { name: name.to_owned(), reason };
        let record = self.record(name);
        // A unit whose file somebody removed may still run: the record is enough.
        if self.own(name)?.is_none() && self.spec(name)?.is_none() {
            return Ok(());
        }
        let seen = self.seen(name).await?;
        let ended = !(seen.has_processes() || seen.waits() || self.gave_up(name, &seen)?);
        // From here on no boot starts it; how one that has ended did so stays known.
        self.files.disable(name).map_err(|source| unit_file("disable", name, source))?;
        if ended {
            return Ok(());
        }
        let halt = || {
            make_folder(record.dir())
                .and_then(|()| atomic_write(&record.dir().join(HALTED), b"", 0o600, None))
        };
        halt().map_err(|source| ServiceError::Record {
            verb: "write",
            path: record.dir().to_owned(),
            source,
        })?;
        hit("services.stop.signalled");
        let grace = self.spec(name).ok().flatten().map_or(PATIENCE, |spec| spec.stop.grace);
        // The signal, then SIGKILL, then the last step: each has that long.
        let until = Instant::now() + grace.max(PATIENCE) * 3 + PATIENCE;
        let unit = unit_name(name);
        loop {
            match tokio::time::timeout_at(until.into(), self.bus.stop(&unit)).await {
                Ok(stopped) => stopped.map_err(ServiceError::Systemd)?,
                Err(_) => return Err(stuck("its processes do not end, even killed".into())),
            }
            let now = self.seen(name).await?;
            if !now.has_processes() && !now.waits() {
                break;
            }
            if Instant::now() > until {
                return Err(stuck(format!("systemd has it as {} ({})", now.active, now.sub)));
            }
            tokio::time::sleep(MOMENT).await;
        }
        if let Some(left) = processes(&seen.group) {
            return Err(stuck(format!("{left} processes of it remain")));
        }
        hit("services.stop.confirmed");
        Ok(())
    }

    /// Stops the service and removes what is known of it; the caller has its turn.
    pub(super) async fn forget_now(&self, name: &str) -> Result<(), ServiceError> {
        self.stop_now(name).await?;
        hit("services.forget.before");
        if self.own(name)?.is_some() || self.spec(name)?.is_some() {
            self.files.remove(name).map_err(|source| unit_file("remove", name, source))?;
            self.bus.reset(&unit_name(name)).await.map_err(ServiceError::Systemd)?;
        }
        let (dir, gone) = (self.record(name).dir().to_owned(), self.dir.join(format!("{GONE}{name}")));
        // At once, so that no half of a record is ever looked at.
        let removed = crate::fs::remove_tree(&gone).and_then(|()| match std::fs::rename(&dir, &gone) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => sync_folder(&self.dir),
        });
        hit("services.forget.renamed");
        removed.and_then(|()| crate::fs::remove_tree(&gone)).map_err(|source| ServiceError::Record {
            verb: "remove",
            path: dir,
            source,
        })
    }

    /// Whether systemd gave the service up since it failed too often.
    fn gave_up(&self, name: &str, seen: &Seen) -> Result<bool, ServiceError> {
        Ok(state::given_up(seen, self.spec(name)?.as_ref().is_some_and(restarts), self.is_halted(name)))
    }

    /// A service that systemd started too often is started again here, each time after a longer wait, for as long as
    /// nobody stops it.
    pub(super) fn start_later(self: &Arc<Self>, name: &str, spec: Option<&ServiceSpec>) {
        let times = {
            let mut all = given_up_now(self);
            let (times, waits) = all.entry(name.to_owned()).or_default();
            if std::mem::replace(waits, true) {
                return;
            }
            *times = times.saturating_add(1);
            *times
        };
        let first = spec.map_or(GIVEN_UP, |spec| spec.restart.delay(u32::MAX)).max(GIVEN_UP);
        let wait = first.saturating_mul(1 << (times - 1).min(16)).min(LONGEST.max(first));
        tracing::warn!(service = name, wait = ?wait, "fails again and again: waits longer from now on");
        let (inner, name) = (Arc::downgrade(self), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(inner) = inner.upgrade() else { return };
            let _turn = inner.turns.take(&name).await;
            // Gone where it was started or stopped on request meanwhile.
            if let Some((_, waits)) = given_up_now(&inner).get_mut(&name) {
                *waits = false;
            }
            if let Err(error) = inner.start_given_up(&name).await {
                tracing::warn!(service = name, error = %error, "cannot start it again");
                inner.queue.push(name);
            }
        });
    }

    async fn start_given_up(&self, name: &str) -> Result<(), ServiceError> {
        let seen = self.seen(name).await?;
        if !self.gave_up(name, &seen)? {
            return Ok(());
        }
        let unit = unit_name(name);
        // Without this systemd would not start it: it has a few quick restarts again.
        self.bus.reset(&unit).await.map_err(ServiceError::Systemd)?;
        self.bus.start(&unit).await.map(drop).map_err(ServiceError::Systemd)
    }

    async fn seen(&self, name: &str) -> Result<Seen, ServiceError> {
        self.bus.look(&unit_name(name)).await.map_err(ServiceError::Systemd)
    }
}

fn unit_file(verb: &'static str, name: &str, source: std::io::Error) -> ServiceError {
    ServiceError::UnitFile { verb, unit: unit_name(name), source }
}

fn given_up_now(inner: &Inner) -> MutexGuard<'_, BTreeMap<String, (u32, bool)>> {
    inner.given_up.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many processes are in a control group; `None` where there is none any more.
fn processes(group: &str) -> Option<usize> {
    let group = group.trim_start_matches('/');
    if group.is_empty() {
        return None;
    }
    let root = Path::new("/sys/fs/cgroup");
    [root.join(group), root.join("systemd").join(group), root.join("unified").join(group)]
        .iter()
        .filter_map(|folder| std::fs::read_to_string(folder.join("cgroup.procs")).ok())
        .map(|pids| pids.lines().count())
        .find(|count| *count > 0)
}
