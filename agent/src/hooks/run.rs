//! One run of a function charm: a sandboxed child, an environment built from nothing, a deadline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stoker_host::exec::{self, Exec, ExecError, Sandbox};
use stoker_host::users::Account;
use stoker_model::observation::Observation;
use stoker_model::plan::{self, Plan, PlanError};

use super::HookCounts;
use super::socket::{Context, Contexts};

/// The variable by which a charm's programs are known as an agent's: the agent's folder. What outlived an agent that
/// was killed is found by it.
pub(crate) const AGENT_MARK: &str = "STOKER_AGENT_DIR";

/// Why a run gave no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// The observation cannot be written down, or randomness is missing.
    #[error("cannot prepare the charm's run: {0}")]
    Prepare(String),
    /// The program cannot be run.
    #[error("cannot run the charm")]
    Run(#[from] ExecError),
    /// It took too long.
    #[error("the charm did not end within {0:?}")]
    Deadline(Duration),
    /// It failed.
    #[error("the charm failed: {how}")]
    Failed {
        /// Exit status or signal.
        how: String,
        /// The end of what it said.
        said: String,
    },
    /// It ended well and handed over nothing.
    #[error("the charm ended without handing over a plan")]
    NoPlan {
        /// The end of what it said.
        said: String,
    },
    /// What it handed over is no valid plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl HookError {
    /// What was seen: the end of the charm's output.
    pub(crate) fn evidence(&self) -> &str {
        match self {
            Self::Failed { said, .. } | Self::NoPlan { said } => said,
            _ => "",
        }
    }
}

/// Runs function charms.
#[derive(Debug)]
pub(crate) struct Hooks {
    contexts: Contexts,
    socket: PathBuf,
    tools: PathBuf,
    shim: PathBuf,
    scratch: PathBuf,
    /// The user that charms run as, and its ids, where the agent may switch.
    user: Option<(String, Account)>,
    /// The agent's folder.
    root: String,
    /// How often charms ran.
    pub counts: HookCounts,
}

impl Hooks {
    /// Starts the tool socket in `run` and links the tools there.
    pub(crate) fn start(
        run: &Path,
        root: &Path,
        shim: PathBuf,
        user: Option<(String, Account)>,
    ) -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let contexts = Contexts::default();
        let tools = run.join("tools");
        std::fs::create_dir_all(&tools)?;
        let tool = shim.with_file_name("stoker-hook");
        for name in stoker_hooks::tools::NAMES {
            let link = tools.join(name);
            if std::fs::read_link(&link).ok().as_deref() != Some(&tool) {
                let _ = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(&tool, &link)?;
            }
        }
        let scratch = run.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o1777))?;
        let socket = super::socket::serve(run, contexts.clone())?;
        let root = root.display().to_string();
        Ok(Self { contexts, socket, tools, shim, scratch, user, root, counts: HookCounts::default() })
    }

    /// The user that charms run as, where the agent may switch.
    pub(crate) fn user(&self) -> Option<String> {
        self.user.as_ref().map(|(name, _)| name.clone())
    }

    /// The program that applies sandboxes.
    pub(crate) fn shim(&self) -> &Path {
        &self.shim
    }

    /// The variables that every program of a charm gets.
    pub(crate) fn base_env(&self) -> BTreeMap<String, String> {
        let path =
            format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.tools.display());
        [("PATH", path.as_str()), ("LANG", "C.UTF-8"), ("TERM", "dumb"), (AGENT_MARK, &self.root)]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    /// Runs the charm below `folder` for an observation and returns its plan, checked.
    pub(crate) async fn plan(
        &self,
        folder: &Path,
        dispatch: &str,
        observation: &Observation,
        deadline: Duration,
    ) -> Result<Plan, HookError> {
        let begun = Instant::now();
        let done = self.plan_uncounted(folder, dispatch, observation, deadline).await;
        self.counts.ran(done.is_ok(), begun.elapsed());
        done
    }

    async fn plan_uncounted(
        &self,
        folder: &Path,
        dispatch: &str,
        observation: &Observation,
        deadline: Duration,
    ) -> Result<Plan, HookError> {
        let document = serde_json::to_vec(observation).map_err(|e| HookError::Prepare(e.to_string()))?;
        let token = token()?;
        let context = Arc::new(Context {
            unit: observation.unit.clone(),
            observation: document,
            plan: Mutex::new(None),
            uid: self
                .user
                .as_ref()
                .map_or_else(|| nix::unistd::geteuid().as_raw(), |(_, account)| account.uid),
        });
        self.contexts.insert(token.clone(), Arc::clone(&context));
        let done = exec::run(&self.exec(folder, dispatch, observation, &token, deadline)).await;
        self.contexts.remove(&token);
        let output = done?;
        let said = || {
            let text = String::from_utf8_lossy(&output.stderr);
            let tail: Vec<&str> = text.lines().rev().take(10).collect();
            tail.into_iter().rev().map(|l| l.escape_debug().to_string()).collect::<Vec<_>>().join("\n")
        };
        if output.timed_out {
            return Err(HookError::Deadline(deadline));
        }
        if !output.is_success() {
            let how = match (output.status, output.signal) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "unknown end".into(),
            };
            return Err(HookError::Failed { how, said: said() });
        }
        let handed = context.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match handed {
            Some(json) => Ok(plan::parse(&json, observation)?),
            None => Err(HookError::NoPlan { said: said() }),
        }
    }

    fn exec(
        &self,
        folder: &Path,
        dispatch: &str,
        seen: &Observation,
        token: &str,
        deadline: Duration,
    ) -> Exec {
        let mut env = self.base_env();
        let hook = if seen.action.is_some() { "" } else { "observe" };
        let charm = folder.display().to_string();
        for (key, value) in [
            ("CHARM_DIR", charm.as_str()),
            ("JUJU_CHARM_DIR", &charm),
            ("JUJU_CONTEXT_ID", token),
            ("JUJU_AGENT_SOCKET_ADDRESS", &self.socket.display().to_string()),
            ("JUJU_AGENT_SOCKET_NETWORK", "unix"),
            ("JUJU_UNIT_NAME", &seen.unit),
            ("JUJU_MODEL_NAME", &seen.model),
            ("JUJU_MACHINE_ID", &seen.host.name),
            ("JUJU_HOOK_NAME", hook),
            ("JUJU_DISPATCH_PATH", "hooks/observe"),
            ("JUJU_VERSION", "3.6.0"),
            ("STOKER_VERSION", env!("CARGO_PKG_VERSION")),
        ] {
            env.insert(key.to_owned(), value.to_owned());
        }
        Exec {
            program: folder.join(dispatch),
            args: vec!["dispatch".into()],
            env,
            cwd: Some(folder.to_owned()),
            user: self.user(),
            ids: self.user.as_ref().map(|(_, account)| (account.uid, account.gid)),
            deadline,
            sandbox: Some(Sandbox { write: vec![self.scratch.clone()], no_network: true }),
            output_cap: 64 * 1024,
            kill_leftovers: true,
            shim: Some(self.shim.clone()),
            ..Exec::default()
        }
    }
}

fn token() -> Result<String, HookError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| HookError::Prepare(e.to_string()))?;
    Ok(hex::encode(bytes))
}
