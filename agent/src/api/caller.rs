//! Who is at the other end of the socket, as the kernel says, and what they may. Must not trust anything that the
//! request says about it.

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// Look.
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
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// The peer of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user's name, or its number where it has none.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// What it may do; `None` is nothing.
    pub right: Option<Right>,
}

impl Caller {
    /// The caller with these credentials, at a socket of group `socket_group`. Root and the agent's own user may
    /// all; members of the group may all but end the agent; others nothing.
    pub(crate) fn from_peer(uid: u32, gid: u32, socket_group: Option<u32>) -> Self {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let right = if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
            Some(Right::Admin)
        } else {
            socket_group.filter(|&group| group == gid || member(user.as_ref(), group)).map(|_| Right::Write)
        };
        Self { user: user.map_or_else(|| uid.to_string(), |user| user.name), uid, right }
    }

    /// The agent itself, for what it does on its own account. No user's name has a space.
    pub(crate) fn agent() -> Self {
        Self { user: "the agent".to_owned(), uid: nix::unistd::geteuid().as_raw(), right: Some(Right::Admin) }
    }

    /// Whether it has this right.
    pub(crate) fn may(&self, right: Right) -> bool {
        self.right.is_some_and(|own| own >= right)
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

    #[test]
    fn rights_go_by_the_kernels_word() {
        let own = nix::unistd::geteuid().as_raw();
        assert!(Caller::from_peer(own, 0, None).may(Right::Admin));
        assert!(Caller::from_peer(0, 0, None).may(Right::Admin));
        let stranger = Caller::from_peer(4_000_000_001, 4_000_000_001, None);
        assert!(!stranger.may(Right::Read));
        assert_eq!(stranger.user, "4000000001");
        let member = Caller::from_peer(4_000_000_001, 4_000_000_002, Some(4_000_000_002));
        assert!(member.may(Right::Write) && !member.may(Right::Admin));
    }
}
