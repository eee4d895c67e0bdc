//! Users of services. Owns finding and making them; it never changes or removes one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Uid, User, getegid, geteuid};

use crate::exec::{Exec, ExecError, run};

/// A user as processes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// It is the agent's own user, since only root can have others.
    pub own: bool,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name cannot be a user's.
    #[error("cannot name a user `{name}`")]
    Name {
        /// The name.
        name: String,
    },
    /// The user database cannot be read.
    #[error("cannot look up user `{name}`")]
    Lookup {
        /// The user.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `useradd` could not be run.
    #[error("cannot make user `{name}`")]
    Run {
        /// The user.
        name: String,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// `useradd` refused.
    #[error("cannot make user `{name}`: {said}")]
    Refused {
        /// The user.
        name: String,
        /// What it said.
        said: String,
    },
}

/// The user of that name, if there is one.
pub fn lookup(name: &str) -> Result<Option<Account>, UserError> {
    let failed = |error: nix::Error| UserError::Lookup { name: name.to_owned(), source: error.into() };
    let user = User::from_name(name).map_err(failed)?;
    Ok(user.map(|user| Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        own: user.uid == geteuid(),
    }))
}

/// Whether this process may run services as other users.
pub fn can_switch() -> bool {
    geteuid() == Uid::from_raw(0)
}

/// The agent's own user.
pub fn own() -> Account {
    Account { uid: geteuid().as_raw(), gid: getegid().as_raw(), own: true }
}

/// The user's name; `None` where it has no entry.
pub fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// Makes sure that there is a system user of that name, without login; an existing one is taken as it is. An agent that
/// is not root gets its own user, and `own` says so.
pub async fn ensure_system_user(name: &str, home: &Path) -> Result<Account, UserError> {
    check_name(name)?;
    if !can_switch() {
        return Ok(own());
    }
    if let Some(account) = lookup(name)? {
        return Ok(account);
    }
    // Two useradd of one name at the same time both succeed, with two ids, and one entry is lost.
    let _turn = turn().await.map_err(|source| UserError::Lookup { name: name.to_owned(), source })?;
    if let Some(account) = lookup(name)? {
        return Ok(account);
    }
    let mut args: Vec<String> =
        ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir"]
            .map(str::to_owned)
            .to_vec();
    args.push(home.to_string_lossy().into_owned());
    // A group of that name that was left behind is taken, where useradd would refuse.
    let group = nix::unistd::Group::from_name(name);
    args.extend(match group {
        Ok(Some(_)) => vec!["--gid".to_owned(), name.to_owned()],
        Ok(None) | Err(_) => vec!["--user-group".to_owned()],
    });
    args.push(name.to_owned());
    let cmd = Exec {
        program: "/usr/sbin/useradd".into(),
        args,
        env: BTreeMap::from([("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]),
        deadline: Duration::from_secs(30),
        ..Exec::default()
    };
    let output = run(&cmd).await.map_err(|source| UserError::Run { name: name.to_owned(), source })?;
    // Another one may have made it meanwhile: what counts is that it is there.
    lookup(name)?.ok_or_else(|| UserError::Refused {
        name: name.to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The turn to make a user, of all agents on this host.
async fn turn() -> std::io::Result<File> {
    let locked = tokio::task::spawn_blocking(|| {
        let folder = File::open("/etc")?;
        folder.lock()?;
        Ok(folder)
    });
    locked.await.map_err(std::io::Error::other)?
}

fn check_name(name: &str) -> Result<(), UserError> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    if first && rest && name.len() <= 32 { Ok(()) } else { Err(UserError::Name { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_root_and_not_a_stranger() {
        assert_eq!(lookup("root").unwrap().map(|root| (root.uid, root.gid)), Some((0, 0)));
        assert_eq!(lookup("no-such-user-here").unwrap(), None);
        assert_eq!(name_of(0).as_deref(), Some("root"));
    }

    #[tokio::test]
    async fn names_that_are_options_or_worse_are_refused() {
        for bad in ["", "-o", "Root", "a b", "a:b", "a\nb", &"x".repeat(33)] {
            let refused = ensure_system_user(bad, Path::new("/nonexistent")).await;
            assert!(matches!(refused, Err(UserError::Name { .. })), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_existing_user_is_taken() {
        let account = ensure_system_user("nobody", Path::new("/nonexistent")).await.unwrap();
        assert_eq!(account.own, !can_switch() || own().uid == account.uid);
    }
}
