//! What a process may no longer write or reach.
//!
//! Two tools: a private mount namespace in which folders are read-only (root only, exact), and landlock (anyone, but it
//! can only allow). Both hold for all descendants.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};
use stoker_host::exec::stage::Sandbox;

/// The rights that are asked for; an older kernel holds those it knows.
const RIGHTS: ABI = ABI::V4;

/// Makes everything below the folders read-only for this process; says whether it holds.
pub(crate) fn deny_write(folders: &[PathBuf]) -> bool {
    let present: Vec<PathBuf> =
        folders.iter().filter_map(|folder| std::fs::canonicalize(folder).ok()).collect();
    present.len() == folders.len()
        && (mounted_read_only(&present) || allowed_elsewhere(&present).unwrap_or(false))
}

fn mounted_read_only(folders: &[PathBuf]) -> bool {
    let mount = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        for folder in folders {
            mount_bind_recursive(folder, folder)?;
            mount_remount(folder, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        Ok(())
    };
    nix::unistd::geteuid().is_root() && mount().is_ok()
}

/// Allows writing everywhere but on the way to the folders. Landlock cannot forbid below what it allows, so nothing new
/// can be made directly in a folder on that way; where that is a folder for all, such as `/tmp`, it is not done.
fn allowed_elsewhere(folders: &[PathBuf]) -> Result<bool, landlock::RulesetError> {
    let mut allowed = Vec::new();
    for folder in folders {
        let shared = |on_way: &Path| std::fs::metadata(on_way).is_ok_and(|data| data.mode() & 0o1000 != 0);
        if folder.ancestors().skip(1).any(shared) {
            return Ok(false);
        }
    }
    spread(Path::new("/"), folders, &mut allowed);
    let write = AccessFs::from_write(RIGHTS);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)?
        .create()?
        .add_rules(path_beneath_rules(&allowed, write))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn spread(at: &Path, denied: &[PathBuf], allowed: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        let path = entry.path();
        if denied.contains(&path) || entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            continue;
        }
        if denied.iter().any(|one| one.starts_with(&path)) {
            spread(&path, denied, allowed);
        } else {
            allowed.push(path);
        }
    }
}

/// Allows writing only where the sandbox says, and signals only to its own; an error where the kernel cannot hold the
/// files' part.
pub(crate) fn sandbox(sandbox: &Sandbox) -> io::Result<()> {
    let held = restrict(sandbox).map_err(io::Error::other)?;
    if held { Ok(()) } else { Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no landlock")) }
}

fn restrict(sandbox: &Sandbox) -> Result<bool, landlock::RulesetError> {
    let write = AccessFs::from_write(RIGHTS);
    let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty"];
    let allowed = devices.iter().map(Path::new).chain(sandbox.write.iter().map(PathBuf::as_path));
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)?
        .scope(Scope::from_all(ABI::V6))?;
    if sandbox.no_network {
        rules = rules.handle_access(AccessNet::from_all(RIGHTS))?;
    }
    let status = rules.create()?.add_rules(path_beneath_rules(allowed, write))?.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
