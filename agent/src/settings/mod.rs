//! The agent's settings: `stoker.toml` and its drop-ins, merged ([`merge`]), validated here, watched ([`watch`]);
//! and where everything lies ([`paths`]). Owns every default; must not act on a setting.

pub(crate) mod fragment;
pub(crate) mod log;
mod merge;
pub(crate) mod paths;
pub(crate) mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use stoker_host::fetch::Reach;
use stoker_model::size;

use crate::problem::{Problem, chain, codes};
use fragment::{Fragment, SettingsError};
pub(crate) use paths::Paths;

/// Valid settings. Which take effect while the agent runs is said in `config/stoker.toml`, per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What services bind, where it was set; see [`Settings::bind_address`].
    pub address: Option<IpAddr>,
    /// This host's name in the model, where it was set; see [`Settings::host`].
    pub host_name: Option<String>,
    /// What keeps services; see [`Settings::by_systemd`].
    pub supervisor: Supervisor,
    /// Users who are neither root nor of the socket's group may look.
    pub others_look: bool,
    /// Folders where `deploy NAME` looks for charms, after the agent's own `charms`.
    pub charms_path: Vec<PathBuf>,
    /// Variables that recipes get from the agent's environment; `PIP_*` stands for all that start so.
    pub recipes_env: Vec<String>,
    /// What is fetched from the web.
    pub sources: Sources,
    /// How long a function charm's run may take.
    pub charm_timeout: Duration,
    /// How often a service is probed once it is ready.
    pub probe_interval: Duration,
    /// How many units of an application go to another release at once.
    pub max_unavailable: u32,
    /// How long a unit that goes to another release may take to be as well as before.
    pub health_timeout: Duration,
    /// Releases per application that are kept.
    pub keep_releases: u32,
    /// How long a build that nothing refers to is kept after it was added.
    pub keep_unused: Duration,
    /// Limits of what is ingested.
    pub limits: Limits,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::Level,
}

/// What keeps services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supervisor {
    /// What fits the host and the agent.
    Auto,
    /// A shim for each service.
    Process,
    /// A unit of systemd for each service.
    Systemd,
}

/// How sources with `https://` are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Private hosts and networks that may be reached.
    pub reach: Reach,
    /// PEM of further authorities, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The most bytes of one file.
    pub bytes: u64,
    /// How long next to nothing may come before a connection counts as cut.
    pub timeout: Duration,
}

/// Limits of an archive, against bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: None,
            host_name: None,
            supervisor: Supervisor::Auto,
            others_look: false,
            charms_path: vec!["/usr/lib/stoker/charms".into()],
            recipes_env: RECIPES_ENV.iter().map(|&name| name.to_owned()).collect(),
            sources: Sources {
                reach: Reach::default(),
                ca_file: None,
                bytes: 16 << 30,
                timeout: Duration::from_secs(30),
            },
            charm_timeout: Duration::from_secs(30),
            probe_interval: Duration::from_mins(1),
            max_unavailable: 1,
            health_timeout: Duration::from_mins(10),
            keep_releases: 10,
            keep_unused: Duration::from_hours(1),
            limits: Limits { entries: 1_000_000, bytes: 64 << 30, file_bytes: 16 << 30 },
            log_level: tracing::Level::INFO,
        }
    }
}

/// Proxies, certificates and the package clients' own settings.
const RECIPES_ENV: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_*",
    "UV_*",
    "MAVEN_OPTS",
    "MAVEN_ARGS",
    "JAVA_HOME",
];

impl Settings {
    /// Reads and validates the files of `paths`.
    pub(crate) fn load(paths: &Paths) -> Result<Self, Problem> {
        merge::read_all(&paths.config, &paths.drop_ins())
            .and_then(|merged| Self::from_fragment(&merged))
            .map_err(|error| {
                Problem::new(codes::SETTINGS, chain(&error))
                    .fix(format!("edit {} or the drop-ins beside it", paths.config.display()))
            })
    }

    /// Defaults with `fragment` over them, valid.
    pub(crate) fn from_fragment(fragment: &Fragment) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        // Empty is written in the installed file for what is found out by itself.
        if let Some(text) = fragment.address.as_deref().filter(|text| !text.is_empty()) {
            settings.address =
                Some(text.parse().map_err(|_| bad("address", text, "expected an IP address"))?);
        }
        if let Some(text) = fragment.host_name.as_deref().filter(|text| !text.is_empty()) {
            if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') || text.len() > 253
            {
                return Err(bad("host-name", text, "expected letters, digits, hyphens and dots"));
            }
            settings.host_name = Some(text.to_owned());
        }
        if let Some(text) = fragment.supervisor.as_deref() {
            settings.supervisor = match text {
                "auto" => Supervisor::Auto,
                "process" => Supervisor::Process,
                "systemd" => Supervisor::Systemd,
                _ => return Err(bad("supervisor", text, "expected auto, process or systemd")),
            };
        }
        if let Some(text) = fragment.access.as_ref().and_then(|access| access.others.as_deref()) {
            settings.others_look = match text {
                "none" => false,
                "look" => true,
                _ => return Err(bad("access.others", text, "expected none or look")),
            };
        }
        if let Some(path) = fragment.charms.as_ref().and_then(|charms| charms.path.clone()) {
            if let Some(relative) = path.iter().find(|folder| !folder.is_absolute()) {
                return Err(bad("charms.path", &relative.display().to_string(), "expected absolute folders"));
            }
            settings.charms_path = path;
        }
        if let Some(env) = fragment.recipes.as_ref().and_then(|recipes| recipes.env.clone()) {
            if let Some(name) = env.iter().find(|name| name.is_empty() || name.contains('=')) {
                return Err(bad("recipes.env", name, "expected names of variables"));
            }
            settings.recipes_env = env;
        }
        if let Some(sources) = &fragment.sources {
            settings.sources.read(sources)?;
        }
        if let Some(text) = fragment.charm.as_ref().and_then(|charm| charm.timeout.as_deref()) {
            settings.charm_timeout = duration("charm.timeout", text, Duration::from_millis(100))?;
        }
        if let Some(text) = fragment.probe.as_ref().and_then(|probe| probe.interval.as_deref()) {
            settings.probe_interval = duration("probe.interval", text, Duration::from_secs(1))?;
        }
        if let Some(most) = fragment.rollout.as_ref().and_then(|rollout| rollout.max_unavailable) {
            if most == 0 {
                return Err(bad("rollout.max-unavailable", "0", "at least 1: none would ever move"));
            }
            settings.max_unavailable = most;
        }
        if let Some(text) = fragment.rollout.as_ref().and_then(|rollout| rollout.health_timeout.as_deref()) {
            settings.health_timeout = duration("rollout.health-timeout", text, Duration::from_secs(1))?;
        }
        if let Some(keep) = fragment.gc.as_ref().and_then(|gc| gc.keep_releases) {
            if keep < 2 {
                return Err(bad(
                    "gc.keep-releases",
                    &keep.to_string(),
                    "at least 2: this one and one to go back to",
                ));
            }
            settings.keep_releases = keep;
        }
        if let Some(text) = fragment.gc.as_ref().and_then(|gc| gc.keep_unused.as_deref()) {
            settings.keep_unused = duration("gc.keep-unused", text, Duration::ZERO)?;
        }
        if let Some(limits) = &fragment.limits {
            settings.limits.entries = limits.archive_entries.unwrap_or(settings.limits.entries);
            if let Some(text) = &limits.archive_size {
                settings.limits.bytes = bytes("limits.archive-size", text)?;
            }
            if let Some(text) = &limits.file_size {
                settings.limits.file_bytes = bytes("limits.file-size", text)?;
            }
        }
        if let Some(text) = fragment.log.as_ref().and_then(|log| log.level.as_deref()) {
            settings.log_level = text
                .parse()
                .map_err(|_| bad("log.level", text, "expected error, warn, info, debug or trace"))?;
        }
        Ok(settings)
    }

    /// Whether a variable of the agent's environment is for recipes, and for what else fetches.
    pub(crate) fn passes_to_recipes(&self, name: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name,
        };
        self.recipes_env.iter().any(fits)
    }

    /// The host's name in the model: as set, else the kernel's.
    pub(crate) fn host(&self) -> String {
        self.host_name.clone().unwrap_or_else(|| {
            nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok())
                .unwrap_or("localhost".into())
        })
    }

    /// Whether systemd keeps services: as set, else where it is PID 1 and the agent is an installed one.
    pub(crate) fn by_systemd(&self, paths: &Paths, booted: bool) -> bool {
        match self.supervisor {
            Supervisor::Auto => booted && !paths.local,
            Supervisor::Process => false,
            Supervisor::Systemd => true,
        }
    }

    /// What services bind: as set, else loopback below `--dir`, else the address that the host's default route
    /// leaves by (loopback where it has none).
    pub(crate) fn bind_address(&self, paths: &Paths) -> IpAddr {
        const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        self.address.unwrap_or_else(|| if paths.local { LOOPBACK } else { outward().unwrap_or(LOOPBACK) })
    }
}

impl Sources {
    fn read(&mut self, sources: &fragment::Sources) -> Result<(), SettingsError> {
        if let Some(entries) = &sources.allow_private {
            let expected = "expected addresses, networks such as 10.0.0.0/8, or names of hosts";
            self.reach =
                Reach::parse(entries).map_err(|entry| bad("sources.allow-private", &entry, expected))?;
        }
        if let Some(text) = sources.ca_file.as_deref().filter(|text| !text.is_empty()) {
            if !text.starts_with('/') {
                return Err(bad("sources.ca-file", text, "expected an absolute path"));
            }
            self.ca_file = Some(text.into());
        }
        if let Some(text) = &sources.max_size {
            self.bytes = bytes("sources.max-size", text)?;
        }
        if let Some(text) = &sources.timeout {
            self.timeout = duration("sources.timeout", text, Duration::from_secs(1))?;
        }
        Ok(())
    }
}

/// The source address towards the outside. Connecting a datagram socket asks the routing table and sends nothing;
/// the destination is a documentation address.
fn outward() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn bad(key: &'static str, value: &str, says: &str) -> SettingsError {
    SettingsError::Value { key, value: value.to_owned(), says: says.to_owned() }
}

fn duration(key: &'static str, text: &str, least: Duration) -> Result<Duration, SettingsError> {
    let value = size::duration(text).map_err(|error| bad(key, text, &error.to_string()))?;
    if value < least { Err(bad(key, text, &format!("at least {}ms", least.as_millis()))) } else { Ok(value) }
}

fn bytes(key: &'static str, text: &str) -> Result<u64, SettingsError> {
    size::bytes(text).map_err(|error| bad(key, text, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const INSTALLED: &str = include_str!("../../../config/stoker.toml");

    fn keys(prefix: &str, value: &serde_json::Value, into: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(table) => {
                for (name, value) in table {
                    keys(&format!("{prefix}.{name}"), value, into);
                }
            }
            _ => {
                into.insert(prefix.trim_start_matches('.').to_owned());
            }
        }
    }

    #[test]
    fn the_installed_file_has_every_key_with_its_default() {
        let fragment = Fragment::parse(Path::new("stoker.toml"), INSTALLED).unwrap();
        assert_eq!(Settings::from_fragment(&fragment).unwrap(), Settings::default());
        // `None` serializes as null, so each key that the code knows is listed, and none may be null.
        let all = serde_json::to_value(Fragment {
            access: Some(fragment::Access::default()),
            charms: Some(fragment::Charms::default()),
            recipes: Some(fragment::Recipes::default()),
            sources: Some(fragment::Sources::default()),
            charm: Some(fragment::Charm::default()),
            probe: Some(fragment::Probe::default()),
            rollout: Some(fragment::Rollout::default()),
            gc: Some(fragment::Gc::default()),
            limits: Some(fragment::Limits::default()),
            log: Some(fragment::Log::default()),
            ..Fragment::default()
        })
        .unwrap();
        let written: serde_json::Value = toml::from_str(INSTALLED).unwrap();
        let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
        keys("", &all, &mut known);
        keys("", &written, &mut listed);
        assert_eq!(listed, known);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_their_key() {
        for (text, key) in [
            ("address = 'here'", "address"),
            ("host-name = 'a b'", "host-name"),
            ("supervisor = 'runit'", "supervisor"),
            ("[access]\nothers = 'all'", "access.others"),
            ("[charms]\npath = ['charms']", "charms.path"),
            ("[recipes]\nenv = ['A=1']", "recipes.env"),
            ("[sources]\nallow-private = ['10.0.0.0/40']", "sources.allow-private"),
            ("[sources]\nca-file = 'ca.pem'", "sources.ca-file"),
            ("[sources]\nmax-size = 'big'", "sources.max-size"),
            ("[sources]\ntimeout = '1ms'", "sources.timeout"),
            ("[charm]\ntimeout = '5'", "charm.timeout"),
            ("[charm]\ntimeout = '1ms'", "charm.timeout"),
            ("[probe]\ninterval = '0s'", "probe.interval"),
            ("[rollout]\nmax-unavailable = 0", "rollout.max-unavailable"),
            ("[rollout]\nhealth-timeout = 'soon'", "rollout.health-timeout"),
            ("[gc]\nkeep-releases = 1", "gc.keep-releases"),
            ("[gc]\nkeep-unused = 'soon'", "gc.keep-unused"),
            ("[limits]\nfile-size = 'big'", "limits.file-size"),
            ("[log]\nlevel = 'loud'", "log.level"),
        ] {
            let fragment = Fragment::parse(Path::new("stoker.toml"), text).unwrap();
            let said = Settings::from_fragment(&fragment).unwrap_err().to_string();
            assert!(said.contains(&format!("`{key}`")), "{text}: {said}");
        }
    }

    #[test]
    fn systemd_keeps_what_an_installed_agent_starts() {
        let (local, installed) = (Paths::resolve(Some(Path::new("/srv/x"))), Paths::resolve(None));
        let mut settings = Settings::default();
        assert!(settings.by_systemd(&installed, true));
        assert!(!settings.by_systemd(&installed, false) && !settings.by_systemd(&local, true));
        settings.supervisor = Supervisor::Systemd;
        assert!(settings.by_systemd(&local, true));
        settings.supervisor = Supervisor::Process;
        assert!(!settings.by_systemd(&installed, true));
    }

    #[test]
    fn below_dir_services_bind_loopback() {
        let paths = Paths::resolve(Some(Path::new("/srv/x")));
        let mut settings = Settings::default();
        assert!(settings.bind_address(&paths).is_loopback());
        settings.address = Some("10.1.2.3".parse().unwrap());
        assert_eq!(settings.bind_address(&paths).to_string(), "10.1.2.3");
        assert!(!settings.host().is_empty());
    }
}
