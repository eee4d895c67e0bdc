//! A firewall of the agent's own, for applications that only some networks may reach: a table of nftables that nobody
//! else writes. Owns when it is set; what is in it is decided by `stoker_model::exposure`. Without such applications
//! there is no table, and nothing is needed for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stoker_host::exec::{self, Exec};
use stoker_host::services::systemd;
use stoker_host::{checks, fs};
use stoker_model::exposure::{Kept, rules, spans};
use stoker_model::ids::Digest;
use tokio::sync::Mutex;

use super::{Core, lock};
use crate::settings::Paths;

/// How long one run of nft may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What failed is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// The agent's table.
pub(crate) struct Firewall {
    /// Its name: that of other agents on this host differs.
    name: String,
    /// The unit of systemd that sets it, where it is not set by this process.
    unit: Option<&'static str>,
    /// What is set, so that a boot sets it before services start.
    file: PathBuf,
    /// As it was set last; `None` before that.
    set: Mutex<Option<String>>,
}

impl Firewall {
    pub(super) fn new(paths: &Paths) -> Self {
        let name = if paths.local {
            let root = Digest::of(paths.root.as_os_str().as_encoded_bytes());
            format!("stoker_{}", &root.hex()[..12])
        } else {
            "stoker".to_owned()
        };
        let unit = (!paths.local && systemd::is_booted()).then_some("stoker-exposed.service");
        Self { name, unit, file: paths.root.join("exposed.nft"), set: Mutex::default() }
    }

    /// Why others cannot be kept out on this host, if they cannot.
    pub(crate) fn check() -> Result<PathBuf, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("a firewall takes an agent that runs as root".to_owned());
        }
        checks::program(&["nft"]).ok_or_else(|| "there is no `nft` on this host".to_owned())
    }

    /// Sets the table to these rules, as one step; without any there is no table.
    async fn set(&self, wanted: Option<String>) -> Result<(), String> {
        let mut set = self.set.lock().await;
        let wanted = wanted.unwrap_or_default();
        if set.as_deref() == Some(wanted.as_str())
            || (wanted.is_empty() && set.is_none() && !self.file.exists())
        {
            return Ok(());
        }
        // Made first, so that there is one to delete.
        let text = format!("table inet {0} {{}}\ndelete table inet {0}\n{wanted}", self.name);
        let kept = fs::atomic_write(&self.file, text.as_bytes(), 0o600, None);
        kept.map_err(|error| format!("cannot write `{}`: {error}", self.file.display()))?;
        let nft = Self::check()?;
        // An installed agent may set no firewall: the unit that does so at boot does it for it.
        let (program, words) = match self.unit {
            Some(unit) => {
                (checks::program(&["systemctl"]).unwrap_or(nft), vec!["restart".to_owned(), unit.to_owned()])
            }
            None => (nft, vec!["-f".to_owned(), self.file.display().to_string()]),
        };
        let env = [("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())].into();
        let run = Exec { program, args: words, env, deadline: DEADLINE, ..Exec::default() };
        let done = exec::run(&run).await.map_err(|error| crate::problem::chain(&error))?;
        if !done.is_success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(said.lines().next().unwrap_or("the firewall's program failed").to_owned());
        }
        if wanted.is_empty() {
            let gone = std::fs::remove_file(&self.file);
            gone.map_err(|error| format!("cannot remove `{}`: {error}", self.file.display()))?;
        }
        tracing::info!(table = self.name, closed = !wanted.is_empty(), "the firewall is set");
        *set = Some(wanted);
        Ok(())
    }
}

impl Core {
    /// What is to be kept from others: ports of applications that some networks may reach, and of those that were
    /// exposed and have not moved back yet.
    fn kept_from_others(&self) -> Vec<Kept> {
        let snapshot = self.snapshot();
        let outside = |address: &str| address.parse::<std::net::IpAddr>().is_ok_and(|at| !at.is_loopback());
        let of = |app: &str| -> BTreeSet<(u16, u16)> {
            let all = lock(&self.ports);
            all.iter().filter(|(unit, _)| unit.app == app).flat_map(|(_, ports)| spans(ports)).collect()
        };
        let kept = |name: &String, app: &stoker_model::record::App| {
            let to = match &app.exposed {
                Some(exposure) if exposure.to.is_empty() => return None,
                Some(exposure) => exposure.to.clone(),
                None => {
                    let report =
                        |unit: &Arc<stoker_model::record::Unit>| snapshot.reports.get(&unit.id).cloned();
                    let open =
                        snapshot.units_of(name).filter_map(report).any(|report| outside(&report.address));
                    if !open || Firewall::check().is_err() {
                        return None;
                    }
                    Vec::new()
                }
            };
            Some(Kept { app: name.clone(), ports: of(name), to })
        };
        snapshot.apps.iter().filter_map(|(name, app)| kept(name, app)).collect()
    }

    /// Sets the firewall to what the model says now; returns once it holds.
    pub(crate) async fn keep_others_out(&self) -> Result<(), String> {
        let wanted = rules(&self.firewall.name, self.address(), &self.kept_from_others());
        self.firewall.set(wanted).await
    }
}

/// Keeps the firewall as the model says, until the agent ends.
pub(super) async fn keep(core: Arc<Core>) {
    let mut follow = core.follow();
    loop {
        follow.mark_unchanged();
        let failed = core.keep_others_out().await.err();
        let wait = async {
            match failed {
                Some(why) => {
                    tracing::warn!("others cannot be kept out: {why}");
                    tokio::time::sleep(AGAIN).await;
                }
                None => drop(follow.changed().await),
            }
        };
        wait.await;
    }
}
