//! The stable codes, one line each: what they mean, how a CLI exits with them and how HTTP answers. A code is
//! never given a second meaning and never removed. From ST0300 on they are codes of units' statuses.

/// A stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    /// `ST0123`.
    pub id: &'static str,
    /// The constant's name in lower case with spaces: `not found`.
    pub name: &'static str,
    /// HTTP status.
    pub http: u16,
    /// Exit status of the CLI.
    pub exit: u8,
    /// What it means and what helps, for `stoker explain`.
    pub says: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal, http $http:literal, exit $exit:literal, $says:literal;)*) => {
        $(
            #[doc = $says]
            #[allow(dead_code, reason = "statuses name their codes by text")]
            pub(crate) const $name: Code =
                Code { id: $id, name: stringify!($name), http: $http, exit: $exit, says: $says };
        )*
        /// All of them, in the order of this file.
        pub(crate) const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    INTERNAL = "ST0001", http 500, exit 1, "Something failed that should not: a defect, or the machine underneath. The evidence has the whole chain of causes; `stoker debug-log` shows what the agent did before. Nothing was half applied.";
    USAGE = "ST0002", http 400, exit 2, "The command or request is not understood: a verb, flag or field is unknown or missing, or two exclude each other. Nothing was done. `stoker VERB --help` shows how it is used.";
    NOT_ALLOWED = "ST0003", http 403, exit 4, "The caller may not do this. The agent's socket is for root, the agent's own user and, where installed, members of the group `stoker`; some requests are for root and the agent's user only.";
    INVALID_VALUE = "ST0004", http 400, exit 2, "A value is not of the kind that is expected: an option of another type, a name that is spelled wrong, a count that is no number. Nothing was done.";
    NOT_FOUND = "ST0005", http 404, exit 5, "What is named does not exist: a file, a charm, an application, unit, endpoint, option, action, release or build. `stoker status` lists what there is.";
    CONFLICT = "ST0006", http 409, exit 6, "It contradicts what is there: a name that is taken, a relation that exists, something that is being removed. Look at `stoker status` and ask for what is missing only.";
    UNREACHABLE = "ST0007", http 503, exit 7, "No agent answers on the socket, or the agent does not reach its store. Running services go on without it. Start the agent with `stoker agent` (or `systemctl start stoker`), and name its folder by `--dir` or STOKER_DIR if it has one.";
    NOT_SETTLED = "ST0008", http 504, exit 8, "The change is committed, but its effects have not settled within `--timeout`. It goes on; `stoker wait CHANGE` waits again and `stoker why APP` says what for.";
    STALE_TOKEN = "ST0009", http 412, exit 6, "The preview that `--if` names is no longer what would happen: something changed since. Nothing was done. Run the command with `--preview` again and look.";
    ALREADY_RUNS = "ST0010", http 409, exit 6, "Another agent holds this folder's lock. One folder has one agent; use another `--dir`, or end the other one.";
    DATABASE = "ST0011", http 500, exit 1, "A database below the agent's folder cannot be read: it is corrupt, or of a newer version of stoker. Nothing was changed and services go on. Install the newer version, or put a backup in its place.";
    SETTINGS = "ST0012", http 500, exit 1, "stoker.toml or a drop-in beside it is not valid. The message names the file and the key. An agent that runs keeps the settings it had.";
    FOLDER = "ST0013", http 500, exit 1, "The agent's folder cannot be used: it cannot be written, or the users of services cannot reach it because a folder above is closed to them. Open that folder (`chmod o+x`) or choose another `--dir`.";
    ARCHIVE = "ST0014", http 422, exit 1, "An archive or folder is refused: truncated, corrupt, with paths or links that leave it, with devices, or over a limit of `stoker.toml`. Nothing of it was kept.";
    UNKNOWN_PRODUCT = "ST0015", http 422, exit 1, "No charm recognises what is in the archive or folder. The message says what was looked for.";
    CHARM = "ST0016", http 422, exit 1, "A charm is not valid: its charm.toml has an unknown key or a wrong value, or a program is missing.";
    FAILED = "ST0017", http 422, exit 1, "What was asked for was tried and failed: an action, a task, a rollout. The evidence is the end of its output.";
    NO_SPACE = "ST0018", http 507, exit 1, "There is no room on the disk for it. Nothing of it was kept. Free some space, or let old builds be collected by removing releases that are not needed.";
    RECIPE = "ST0019", http 422, exit 1, "A charm's recipe could not make the build: a version that does not exist, no network, or a tool that is missing. The evidence is the end of its output. Proxies and certificates reach recipes only by the variables in `recipes.env`.";
    NOT_YET = "ST0020", http 501, exit 1, "This version of stoker checks the request or field, but cannot carry it out yet.";
    DECLINED = "ST0021", http 409, exit 1, "A destructive command was not confirmed. On a terminal, type the name that is asked for; elsewhere give `--yes`.";
    INTERRUPTED = "ST0022", http 500, exit 130, "The command was interrupted while it waited. The change goes on; `stoker wait CHANGE` follows it.";
    DEFERRED = "ST0023", http 409, exit 8, "The change is committed, but a move waits for busy services, so that running work is not disturbed. It moves when they are idle; `stoker rollout APP now` moves at once.";
    BLOCKED = "ST0024", http 409, exit 1, "The change settled, but a unit is blocked: a person must do something. `stoker why UNIT` says what.";
    UNIT_ERROR = "ST0025", http 409, exit 1, "A unit is in error: something of it fails. `stoker why UNIT` shows the evidence.";
    LINK = "ST0026", http 400, exit 2, "A link is not one that can be fetched: it needs https, a digest at its end (`#sha512=HEX` or `#sha256=HEX`) and no user or password. Nothing was fetched. The digest is mostly beside the file where it is published; one from another place than the file is worth more.";
    PRIVATE = "ST0027", http 403, exit 1, "A link, or where it redirects to, leads into a private network, and nothing is fetched from there unless the setting `sources.allow-private` names the host or network. Nobody was connected to.";
    DOWNLOAD = "ST0028", http 502, exit 1, "A file could not be fetched: nobody answers, the server refuses, its certificate is not valid, it is too large or too slow, or the connection was cut again and again. Nothing of it was kept. Proxies are those of `https_proxy` and `no_proxy` where `recipes.env` lists them; authorities of a company's own are named by `sources.ca-file`.";
    CHECKSUM = "ST0029", http 422, exit 1, "The bytes that were fetched are not those of the digest in the link. Nothing of them was looked at or kept. Either the digest is another file's, or somebody changed the file.";
    DAMAGED = "ST0030", http 409, exit 1, "A build on the disk is not what its digest says: a file of it was changed, cut off or is gone. What runs is left alone. `stoker builds verify --repair` puts damaged files aside and takes them again from the archive, folder or recipe that the build came from, and names what helps where it cannot.";
    STREAM = "ST0031", http 422, exit 1, "What is imported is no whole export of a build: it is cut off, damaged, made by a newer stoker, or builds on another build that is not on this host. Nothing of the build is visible; contents that were verified are passed over when it is imported again.";
    TOO_LARGE = "ST0032", http 422, exit 1, "The change is of more records than one change may hold, which is always made as a whole or not at all. Nothing was done. Do it in several changes.";
    ALIGN = "ST0033", http 422, exit 1, "A charm could not judge how a build fits: it lacks something to compare with, a server does not answer, or a jar cannot be read. The evidence is what its `align` program said. Nothing was attached or changed.";
    UNSOUND = "ST0034", http 500, exit 1, "Something below the agent's folder is not as it must be: a database, a record, a file of a unit, a build, a service that is there twice. `stoker fsck` lists what, with what helps. It changes nothing.";
    UNFIT = "ST0035", http 500, exit 1, "Something of this host keeps services from running well: a name that leads nowhere, a disk that is full, limits that are too low. `stoker doctor` lists what, with what helps.";
    SERVICE_FAILED = "ST0301", http 409, exit 1, "A service of the unit ended and its restart policy gives up on it. `stoker why UNIT` shows how it ended and the end of its log; `stoker restart UNIT/SERVICE` starts it again.";
    TASK_FAILED = "ST0302", http 409, exit 1, "A task of the unit's plan failed for good, after the tries it has. `stoker why UNIT` shows the end of its log. When the cause is gone, `stoker restart UNIT/TASK` runs it again.";
    SUPERVISOR = "ST0303", http 409, exit 1, "A service could not be started, stopped or asked. The message says what the keeper of the service said. It is tried again by itself.";
    STOPPED = "ST0310", http 409, exit 1, "A user stopped this service (`stoker stop`). It stays stopped, over restarts of the agent too, until `stoker start UNIT`.";
    ATTACH = "ST0320", http 409, exit 1, "The charm needs a resource that was never attached. Services that run are left alone. `stoker attach-resource APP NAME=SOURCE` attaches one.";
    UNSETTLED = "ST0321", http 409, exit 1, "The charm's plans keep changing what the charm sees next: eight runs in a row had no other cause than its own output. It is a defect of the charm; it runs again when something else changes. What runs is left alone.";
    CHARM_FAILED = "ST0322", http 409, exit 1, "The charm's program failed, hung beyond `charm.timeout`, or handed over nothing. It is run again by itself, less and less often, and at once when what it sees changes. What runs is left alone; `stoker why UNIT` shows what it said.";
    BAD_PLAN = "ST0323", http 409, exit 1, "The charm handed over a plan that is not valid: an unknown key, a name that is not in the plan, a value that is too large. Nothing of it was used. What runs is left alone.";
    CHARM_MISSING = "ST0324", http 409, exit 1, "The charm's own build cannot be linked on this host. `stoker builds` lists what is there.";
    PROVING = "ST0325", http 409, exit 1, "Tasks that prove the new builds run before anything is stopped. What runs is left alone until they are done.";
    NOT_PROVED = "ST0326", http 409, exit 1, "A task that was to prove the new builds failed, so the unit does not move: what was applied goes on, untouched. `stoker why UNIT` shows the evidence; `stoker restart UNIT/TASK` tries again, `stoker rollback APP` gives the change up.";
    NOT_GRANTED = "ST0327", http 409, exit 1, "The plan names a secret that does not exist, or that its owner has not granted to a relation of this application.";
    SECRET = "ST0328", http 409, exit 1, "A secret cannot be made or opened. The key that seals secrets is `secret.key` in the agent's folder; secrets sealed under another key cannot be opened.";
    REUSE = "ST0329", http 409, exit 1, "Kept data that the unit was to take back is not there. `stoker kept list` shows what there is.";
    STORE = "ST0330", http 409, exit 1, "The store refuses or does not answer. Services go on; it is tried again by itself.";
    JOURNAL = "ST0331", http 409, exit 1, "This host's record of the unit cannot be written or read back. Services go on; nothing is done for the unit until it can.";
    DOCUMENT = "ST0332", http 409, exit 1, "A document cannot be written as JSON: a number that JSON cannot carry. It is a defect.";
    UNRESOLVED = "ST0333", http 409, exit 1, "The plan's placeholders cannot be resolved: its files name each other in a circle.";
    TREE = "ST0334", http 409, exit 1, "A tree of the plan cannot be linked or derived: a build is missing on this host, or a path that is dropped or taken is not in it. Nothing was stopped.";
    PORT = "ST0335", http 409, exit 1, "A port of the unit is taken by a process that is not stoker's; the message names it. Ports are remembered and never moved in silence: end that process, or prefer another port by the charm's options.";
    UNIT_FOLDER = "ST0336", http 409, exit 1, "A folder of the unit cannot be made, removed or put aside. The message has the system's reason.";
    DATA_MISSING = "ST0337", http 409, exit 1, "A folder of data is not the one that was made: its marker is missing or it is on another filesystem, as when a disk is not mounted. Nothing is started on it and nothing is formatted. Mount what belongs there.";
    SYSTEM_USER = "ST0338", http 409, exit 1, "The system user of a service cannot be made or found.";
    UNIT_FILE = "ST0339", http 409, exit 1, "A rendered file cannot be written or removed. The message has the system's reason, a full disk mostly; it is tried again by itself.";
    CLOSED = "ST0341", http 409, exit 1, "The application is exposed to some networks alone, and the firewall that keeps others out cannot be set: there is no `nft`, or it refuses. Its services are not started before it can. `apt install nftables`, or expose it to everybody, or to nobody.";
    NO_ACTION = "ST0340", http 409, exit 1, "The charm plans nothing for this action, as the unit is now. The message is the charm's.";
}

/// The code `ST0123`, in any case of letters.
pub(crate) fn find(id: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_given_once_and_exits_by_the_table() {
        let mut ids: Vec<_> = ALL.iter().map(|code| code.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for code in ALL {
            assert!(code.id.len() == 6 && code.id.starts_with("ST"), "{}", code.id);
            assert!([1, 2, 4, 5, 6, 7, 8, 130].contains(&code.exit), "{} exits {}", code.id, code.exit);
            assert!((400..600).contains(&code.http), "{}", code.id);
            assert!(code.says.ends_with('.') && !code.name.is_empty(), "{}", code.id);
        }
        assert_eq!(find("st0005"), Some(&NOT_FOUND));
    }
}
