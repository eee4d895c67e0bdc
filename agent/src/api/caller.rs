//! Who is at the other end of the socket, as the kernel says, and what they may. Must not trust anything that the
//! request says about it.

use nix::unistd::{Gid, Uid, User, getgrouplist};
use stoker_host::peers;
use stoker_model::record::Origin;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// See what runs: nothing of what is in logs, plans or options.
    Look,
    /// Read everything.
    Read,
    /// Change the model.
    Write,
    /// End the agent.
    Admin,
}

impl Right {
    /// The word in the OpenAPI document.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Whom the socket lets in beside root and the agent's own user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Door {
    /// This group.
    pub group: Option<u32>,
    /// Everybody else, to look.
    pub others: bool,
}

/// The peer of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user's name, or its number where it has none.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The process that connected, where it is one of this host's.
    pub pid: Option<u32>,
    /// What it may do; `None` is nothing.
    pub right: Option<Right>,
    agent: bool,
}

impl Caller {
    /// The caller with these credentials at such a door. Root and the agent's own user may all; members of the group
    /// may all but end the agent; others may look where the door is open to them, else nothing.
    pub(crate) fn from_peer(uid: u32, gid: u32, pid: Option<i32>, door: Door) -> Self {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let right = if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
            Some(Right::Admin)
        } else if door.group.is_some_and(|group| group == gid || member(user.as_ref(), group)) {
            Some(Right::Write)
        } else {
            door.others.then_some(Right::Look)
        };
        let user = user.map_or_else(|| uid.to_string(), |user| user.name);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
        Self { user, uid, pid, right, agent: false }
    }

    /// The agent itself, for what it does on its own account. No user's name has a space.
    pub(crate) fn agent() -> Self {
        Self {
            user: "the agent".to_owned(),
            uid: nix::unistd::geteuid().as_raw(),
            pid: Some(std::process::id()),
            right: Some(Right::Admin),
            agent: true,
        }
    }

    /// Whether it is the agent itself.
    pub(crate) fn is_agent(&self) -> bool {
        self.agent
    }

    /// Whether it has this right.
    pub(crate) fn may(&self, right: Right) -> bool {
        self.right.is_some_and(|own| own >= right)
    }

    /// Where it asks from, for the record; `None` for the agent itself.
    pub(crate) fn origin(&self) -> Option<Origin> {
        if self.agent {
            return None;
        }
        let peer = self.pid.map(peers::describe).unwrap_or_default();
        let login = peer.login.filter(|login| *login != self.user);
        Some(Origin { uid: self.uid, pid: self.pid, program: peer.program, login })
    }
}

fn member(user: Option<&User>, group: u32) -> bool {
    let Some(user) = user else { return false };
    let Ok(name) = std::ffi::CString::new(user.name.as_str()) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: u32 = 4_000_000_001;
    const GROUP: u32 = 4_000_000_002;

    #[test]
    fn rights_go_by_the_kernels_word() {
        let own = nix::unistd::geteuid().as_raw();
        let (shut, group) = (Door::default(), Door { group: Some(GROUP), others: false });
        let all = Door { others: true, ..group };
        let of = |uid, gid, door| Caller::from_peer(uid, gid, None, door).right;
        assert_eq!(of(own, 0, shut), Some(Right::Admin));
        assert_eq!(of(0, 0, shut), Some(Right::Admin));
        assert_eq!(of(STRANGER, STRANGER, shut), None);
        assert_eq!(of(STRANGER, STRANGER, group), None);
        assert_eq!(of(STRANGER, GROUP, group), Some(Right::Write));
        assert_eq!(of(STRANGER, GROUP, all), Some(Right::Write));
        assert_eq!(of(STRANGER, STRANGER, all), Some(Right::Look));
    }

    #[test]
    fn the_origin_is_the_process_that_asks() {
        let own = i32::try_from(std::process::id()).ok();
        let origin = Caller::from_peer(STRANGER, STRANGER, own, Door::default()).origin().unwrap();
        assert_eq!((origin.uid, origin.pid), (STRANGER, Some(std::process::id())));
        assert!(origin.program.is_some());
        // A process that is not of this host's has no number here.
        assert_eq!(Caller::from_peer(STRANGER, STRANGER, Some(0), Door::default()).pid, None);
        assert_eq!(Caller::agent().origin(), None);
    }
}
