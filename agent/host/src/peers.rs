//! What can be told of a process at the other end of a socket. Owns reading it from `/proc`; it is for people to
//! read, and must not decide what anybody may.

use nix::unistd::{Uid, User};

/// A process, as it calls itself and as who logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name of its program.
    pub program: Option<String>,
    /// The user who logged in, however often users were switched since; `None` where nobody did.
    pub login: Option<String>,
}

/// Looks at a process; what cannot be read is left out.
pub fn describe(pid: u32) -> Peer {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let uid =
        read("loginuid").and_then(|text| text.trim().parse::<u32>().ok()).filter(|&uid| uid != u32::MAX);
    let name = |uid| {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    };
    let program = read("comm").map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty());
    Peer { program, login: uid.map(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_name_and_a_missing_one_has_none() {
        assert!(describe(std::process::id()).program.is_some());
        assert_eq!(describe(u32::MAX), Peer::default());
    }
}
