//! Launching: from an applied plan's service or task to the spec that a supervisor takes. Secrets are opened here,
//! at the last moment, into the process' environment or arguments' files only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use stoker_host::fs::failpoint::hit;
use stoker_host::services::{Limits, OneShot, Phase, Restart, RestartOn, ServiceSpec, Stop};
use stoker_model::observation::{ServiceState, TaskState};
use stoker_model::observe::services_of;
use stoker_model::plan::{Service, Task};
use stoker_model::resolve::Applied;
use stoker_model::size;

use super::pass::View;
use super::service_name;
use super::trouble::{SOON, Trouble};
use super::worker::Worker;
use crate::core::Core;

/// How long a task may run when it does not say.
const TASK_TIMEOUT: Duration = Duration::from_mins(1);

impl Worker {
    /// Starts the services of what is applied that should run and do not, as far as their needs hold.
    pub(super) async fn start_services(&mut self, view: &View) -> Result<Option<Duration>, Trouble> {
        let Some(applied) = self.local.applied.clone() else { return Ok(None) };
        if self.local.op.is_some() {
            return Ok(None);
        }
        let mut again = self.start_services_of(view, &applied, true).await?;
        for frozen in self.local.generations.clone() {
            let wait = self.start_services_of(view, &frozen.applied, false).await?;
            again = [again, wait].into_iter().flatten().min();
        }
        Ok(again)
    }

    /// Those of one applied plan. What is of a frozen generation (not `newest`) is only kept: what never ran there is
    /// not begun, and `restart UNIT` does not mean it.
    async fn start_services_of(
        &mut self,
        view: &View,
        applied: &Applied,
        newest: bool,
    ) -> Result<Option<Duration>, Trouble> {
        let states = services_of(applied, &self.services.observed());
        let tasks = self.task_states(view);
        let mut again = None;
        for (name, service) in &applied.plan.services {
            let run = applied.run_name(name);
            let full = service_name(&self.id, &run);
            let Some(observed) = self.services.get(&run).cloned() else { continue };
            let halted = view.unit.stopped.iter().any(|s| *s == run || s == "*" || (newest && s == name));
            let runs = matches!(observed.phase, Phase::Starting | Phase::Running | Phase::Backoff);
            let named = if newest { name } else { &run };
            let all = view.unit.restart.get("*").filter(|_| newest);
            let asked = view.unit.restart.get(named).or(all).copied().unwrap_or(0);
            if halted {
                if runs {
                    self.core.supervisor.stop(&full).await?;
                    hit("agent.service.halted");
                    self.services.forget(&run);
                    self.services.refresh(&self.local).await?;
                }
                continue;
            }
            if !newest && observed.phase == Phase::Absent {
                continue;
            }
            let anew = asked > self.local.restarted.get(named).copied().unwrap_or(0);
            if anew {
                self.core.supervisor.stop(&full).await?;
                hit("agent.service.restart-stopped");
                self.local.restarted.insert(named.clone(), asked);
                self.save()?;
                hit("agent.service.restart-noted");
            } else if runs && !observed.lost {
                continue;
            } else if matches!(observed.phase, Phase::Failed | Phase::Exited) && !observed.lost {
                // The restart policy is the supervisor's; what it gave up is started again only when asked for.
                continue;
            }
            let ready = |need: &String| match need.strip_prefix("task:") {
                Some(task) => tasks.get(task) == Some(&TaskState::Done),
                None => states.get(need).is_some_and(|s| s.state == ServiceState::Ready),
            };
            // Needs gate the first start only: a service that ran before starts at once.
            if observed.phase == Phase::Absent && !service.needs.iter().all(ready) {
                continue;
            }
            if let Err(trouble) =
                self.keep_others_out().await.and_then(|()| self.check_ports(applied, service))
            {
                self.trouble = Some(trouble);
                again = Some(SOON);
                continue;
            }
            let spec = self.service_spec(applied, name, service)?;
            hit("agent.service.starting");
            self.core.supervisor.start(&spec).await?;
            hit("agent.service.started");
            self.services.forget(&run);
            self.services.refresh(&self.local).await?;
        }
        Ok(again)
    }

    /// Nothing that only some networks may reach starts before the firewall keeps the others out.
    async fn keep_others_out(&self) -> Result<(), Trouble> {
        let exposed = self.core.snapshot().apps.get(&self.id.app).and_then(|app| app.exposed.clone());
        if exposed.is_none_or(|exposure| exposure.to.is_empty()) {
            return Ok(());
        }
        self.core.keep_others_out().await.map_err(|why| {
            let fix = format!("apt install nftables, or stoker unexpose {}", self.id.app);
            Trouble::blocked("ST0341", format!("others cannot be kept out: {why}"), fix)
        })
    }

    /// A stranger on one of the service's ports: said, not moved away from.
    fn check_ports(&self, applied: &Applied, service: &Service) -> Result<(), Trouble> {
        let bound = applied.bindings.addresses.get("default").and_then(|text| text.parse().ok());
        let address = bound.unwrap_or_else(|| self.core.address_of(&self.id.app));
        for name in &service.ports {
            let Some((first, count)) = applied.bindings.ports.get(name) else { continue };
            // A range is for later listeners of the service itself; only a single port is its own from the start.
            if *count > 1 {
                continue;
            }
            stoker_host::ports::check(address, *first, *count).map_err(|error| {
                Trouble::blocked(
                    "ST0335",
                    format!("port {name}: {error}"),
                    "end that process; it is looked at again by itself",
                )
            })?;
        }
        Ok(())
    }

    fn service_spec(&self, applied: &Applied, name: &str, service: &Service) -> Result<ServiceSpec, Trouble> {
        let digest = applied.services.get(name).map(ToString::to_string).unwrap_or_default();
        let mut spec = ServiceSpec::new(
            service_name(&self.id, &applied.run_name(name)),
            digest,
            words(applied, &service.command),
        );
        self.surroundings(&mut spec, applied, &service.env, service.user.as_deref(), &service.dirs)?;
        spec.stop = Stop { signal: service.stop.signal.clone(), grace: duration(&service.stop.grace, 60) };
        if !service.success.is_empty() {
            spec.success.clone_from(&service.success);
        }
        spec.restart = Restart {
            on: match service.restart.on.as_str() {
                "always" => RestartOn::Always,
                "never" => RestartOn::Never,
                _ => RestartOn::Failure,
            },
            backoff: service.restart.backoff.iter().map(|text| duration(text, 1)).collect(),
        };
        spec.limits = limits(service.limits);
        spec.mark.insert("service".into(), name.into());
        Ok(spec)
    }

    /// The spec of a task (or an action's task) under a name of its own.
    pub(super) fn task_spec(
        &self,
        applied: &Applied,
        short: &str,
        key: &str,
        task: &Task,
        default: Duration,
    ) -> Result<ServiceSpec, Trouble> {
        let name = service_name(&self.id, short);
        let mut spec = ServiceSpec::new(name, key, words(applied, &task.command));
        self.surroundings(&mut spec, applied, &task.env, task.user.as_deref(), &task.dirs)?;
        let timeout = task.timeout.as_deref().and_then(|text| size::duration(text).ok()).unwrap_or(default);
        spec.oneshot = Some(OneShot { timeout });
        spec.success = vec![0];
        spec.restart = Restart { on: RestartOn::Never, backoff: Vec::new() };
        spec.stop = Stop { signal: "TERM".into(), grace: Duration::from_secs(10) };
        spec.limits = limits(task.limits);
        spec.mark.insert("task".into(), short.into());
        Ok(spec)
    }

    fn surroundings(
        &self,
        spec: &mut ServiceSpec,
        applied: &Applied,
        env: &BTreeMap<String, String>,
        user: Option<&str>,
        dirs: &[String],
    ) -> Result<(), Trouble> {
        spec.env =
            [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        for (key, text) in env {
            let secret = stoker_model::placeholder::holes(text)
                .any(|(k, _)| k == stoker_model::placeholder::Kind::Secret);
            if secret {
                let value = applied.bindings.fill_with(text, |name| {
                    self.secret_value(&applied.plan, &applied.bindings.secrets, name)
                })?;
                spec.secret_env.insert(key.clone(), value);
            } else {
                spec.env.insert(key.clone(), applied.bindings.fill(text));
            }
        }
        spec.user = Core::system_user(user);
        let folder = dirs.first().and_then(|dir| applied.bindings.dirs.get(dir)).map(PathBuf::from);
        spec.cwd = Some(folder.unwrap_or_else(|| self.core.unit_folder(&self.id)));
        spec.deny_write = vec![self.core.paths.builds.clone()];
        spec.write =
            dirs.iter().filter_map(|dir| applied.bindings.dirs.get(dir)).map(PathBuf::from).collect();
        spec.mark = [
            ("model", crate::core::MODEL.to_owned()),
            ("app", self.id.app.clone()),
            ("unit", self.id.to_string()),
            ("release", applied.release.to_string()),
            ("dir", self.core.paths.root.display().to_string()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into();
        if let Some(release) = self.core.snapshot().releases.get(&(self.id.app.clone(), applied.release)) {
            spec.mark.insert("change".into(), release.change.to_string());
        }
        Ok(())
    }
}

fn words(applied: &Applied, command: &[String]) -> Vec<String> {
    // A secret in an argument would be seen by everyone on the host: it stays a placeholder there.
    command.iter().map(|word| applied.bindings.fill(word)).collect()
}

/// The default of a task's timeout.
pub(super) fn task_timeout() -> Duration {
    TASK_TIMEOUT
}

fn duration(text: &str, default: u64) -> Duration {
    size::duration(text).unwrap_or(Duration::from_secs(default))
}

fn limits(limits: stoker_model::plan::Limits) -> Limits {
    Limits { memory: limits.memory, cores: limits.cores, nofile: limits.nofile }
}
