//! Facts of the host, as charms observe them: name, size, address, Java and Python installations, room on disks.
//!
//! Owns reading them. What counts is what a service could use: a program that other users cannot run is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use stoker_model::observation::{Java, Python};

use crate::exec::{Exec, run};

/// What is known of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// Host name.
    pub name: String,
    /// Processor architecture as the kernel names it.
    pub arch: String,
    /// Cores this process may use.
    pub cores: u64,
    /// Bytes of memory, or of the control group's limit where that is lower.
    pub memory: u64,
    /// Addresses by binding; here only `default`.
    pub addresses: BTreeMap<String, String>,
    /// Java installations, newest first.
    pub java: Vec<Java>,
    /// Python interpreters, newest first.
    pub python: Vec<Python>,
}

/// Room on the disk of a folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// All of it.
    pub total: u64,
    /// What an ordinary user may still write.
    pub free: u64,
}

/// Reads all facts. Takes a moment where a Java or Python must be asked for its version.
pub async fn gather() -> HostFacts {
    HostFacts {
        name: sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
        arch: std::env::consts::ARCH.to_owned(),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
        memory: memory(),
        addresses: BTreeMap::from([("default".to_owned(), default_address().to_string())]),
        java: java().await,
        python: python().await,
    }
}

fn memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else { return 0 };
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(limit)
}

/// Room on the disk that holds `path`.
pub fn disk(path: &Path) -> std::io::Result<Disk> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Disk { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
}

/// The address that this host reaches others from; loopback where it reaches none.
pub fn default_address() -> IpAddr {
    // Connecting a datagram socket only asks the routing table: nothing is sent (the address is for documentation).
    let ask = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    ask().ok().filter(|address| !address.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn java() -> Vec<Java> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    homes.extend(entries("/usr/lib/jvm"));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for home in homes.iter().filter_map(|home| std::fs::canonicalize(home).ok()) {
        if !seen.insert(home.clone()) || !runs_for_all(&home.join("bin/java")) {
            continue;
        }
        let version =
            match std::fs::read_to_string(home.join("release")).ok().as_deref().and_then(release_version) {
                Some(version) => Some(version),
                None => {
                    said_by(&home.join("bin/java"), &["-version"]).await.as_deref().and_then(printed_version)
                }
            };
        if let (Some(version), Some(home)) = (version, home.to_str()) {
            found.push(Java { home: home.to_owned(), version });
        }
    }
    found.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.home.cmp(&b.home)));
    found
}

async fn python() -> Vec<Python> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // The system's own first: under `/usr/local` may be anything.
    for path in ["/usr/bin", "/usr/local/bin"].iter().flat_map(entries) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(minor) = name.strip_prefix("python3") else { continue };
        let named = minor.strip_prefix('.').and_then(|minor| minor.parse::<u32>().ok());
        if !(minor.is_empty() || named.is_some()) || !runs_for_all(&path) {
            continue;
        }
        let script = "import sys; print('%d.%d' % sys.version_info[:2])";
        let version = match named {
            Some(minor) => Some(format!("3.{minor}")),
            None => said_by(&path, &["-I", "-c", script]).await.map(|said| said.trim().to_owned()),
        };
        let Some(version) = version.filter(|version| python_minor(version).is_some()) else { continue };
        let Some(path) = path.to_str() else { continue };
        if seen.insert(path.to_owned()) {
            found.push(Python { path: path.to_owned(), version });
        }
    }
    found.sort_by(|a, b| {
        let by_version = python_minor(&b.version).cmp(&python_minor(&a.version));
        by_version.then_with(|| a.path.len().cmp(&b.path.len())).then_with(|| a.path.cmp(&b.path))
    });
    found
}

fn python_minor(version: &str) -> Option<u32> {
    version.strip_prefix("3.")?.parse().ok()
}

fn entries(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Whether any user can run the program: it and every folder on the way.
fn runs_for_all(path: &Path) -> bool {
    let open = |path: &Path| std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o001 != 0);
    let Ok(path) = std::fs::canonicalize(path) else { return false };
    path.is_file() && path.ancestors().all(open)
}

/// What the program prints, on either stream.
async fn said_by(program: &Path, args: &[&str]) -> Option<String> {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let cmd = Exec {
        program: program.to_owned(),
        args,
        deadline: Duration::from_secs(10),
        output_cap: 16 * 1024,
        kill_leftovers: true,
        ..Exec::default()
    };
    let output = run(&cmd).await.ok().filter(crate::exec::Output::is_success)?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The feature version of a JDK's `release` file.
fn release_version(release: &str) -> Option<u32> {
    let line = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    feature_version(line.trim().trim_matches('"'))
}

/// The feature version that `java -version` prints.
fn printed_version(printed: &str) -> Option<u32> {
    feature_version(printed.split('"').nth(1)?)
}

/// `17` of `17.0.15`, `8` of `1.8.0_392`.
fn feature_version(version: &str) -> Option<u32> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        feature => Some(feature),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_of_all_ages() {
        for (text, version) in
            [("17.0.15", 17), ("1.8.0_392", 8), ("25", 25), ("25-ea", 25), ("11.0.2+9", 11)]
        {
            assert_eq!(feature_version(text), Some(version), "{text}");
        }
        assert_eq!(feature_version("openjdk"), None);
        assert_eq!(release_version("IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"1.8.0_1\"\n"), Some(8));
        assert_eq!(printed_version("openjdk version \"21.0.1\" 2023-10-17\n"), Some(21));
    }

    #[tokio::test]
    async fn the_host_is_read() {
        let facts = gather().await;
        assert!(!facts.name.is_empty() && facts.cores > 0 && facts.memory > 1 << 20, "{facts:?}");
        assert!(facts.addresses["default"].parse::<IpAddr>().is_ok());
        assert!(facts.java.windows(2).all(|pair| pair[0].version >= pair[1].version));
        assert!(facts.python.iter().all(|one| Path::new(&one.path).exists()), "{facts:?}");
        assert!(disk(Path::new("/")).unwrap().total > 0);
    }

    #[test]
    fn programs_of_one_user_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("java");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!runs_for_all(&dir.path().join("none")));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        // The program is open to others, its folder is not.
        assert!(!runs_for_all(&program));
        assert!(runs_for_all(Path::new("/bin/sh")));
    }
}
