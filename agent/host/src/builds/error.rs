//! What can go wrong with builds. Owns the errors and their words; must not decide what is refused.

use std::io;
use std::path::{Path, PathBuf};

use stoker_model::ids::Digest;

/// Why an operation on builds did not happen. Nothing is left behind by any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A member of an archive or folder must not be taken in.
    #[error("cannot add `{}`: member `{member}` {fault}", .source_path.display())]
    Member {
        /// The archive or folder.
        source_path: PathBuf,
        /// The member's name, made printable and short.
        member: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The source is larger than is allowed.
    #[error("cannot add `{}`: it exceeds the limit of {limit} {unit}", .source_path.display())]
    Limit {
        /// The archive or folder.
        source_path: PathBuf,
        /// The limit.
        limit: u64,
        /// Of what: `members`, `bytes`, `bytes of names`, `times its own size`.
        unit: &'static str,
    },
    /// The source is no archive that is known here.
    #[error("cannot add `{}`: not an archive: looked for tar, tar.gz, tar.zst and zip{found}", .source_path.display())]
    NotArchive {
        /// The file.
        source_path: PathBuf,
        /// `, found …` where it was recognised as something else, else empty.
        found: &'static str,
    },
    /// The archive is cut off, damaged, or has something after its end.
    #[error("cannot add `{}`: {detail}", .source_path.display())]
    Corrupt {
        /// The file.
        source_path: PathBuf,
        /// What is wrong and near which member.
        detail: String,
    },
    /// The disk is full.
    #[error("cannot add `{}`: no space left on `{}`: {needed}", .source_path.display(), .folder.display())]
    NoSpace {
        /// The archive or folder.
        source_path: PathBuf,
        /// The builds' folder.
        folder: PathBuf,
        /// How much is needed and free, where it is known.
        needed: String,
    },
    /// The source changed while it was read.
    #[error("cannot add `{}`: it changed while it was read", .source_path.display())]
    Changed {
        /// The archive or folder.
        source_path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("cannot add `{}`: cancelled", .source_path.display())]
    Cancelled {
        /// The archive or folder.
        source_path: PathBuf,
    },
    /// The source has nothing in it.
    #[error("cannot add `{}`: there are no files in it", .source_path.display())]
    Empty {
        /// The archive or folder.
        source_path: PathBuf,
    },
    /// No such build on this host.
    #[error("cannot find build `{0}` on this host")]
    Unknown(Digest),
    /// What is stored is not what its name says.
    #[error("cannot use `{what}`: it is damaged: {detail}")]
    Damaged {
        /// A path below the builds' folder.
        what: String,
        /// What was found.
        detail: String,
    },
    /// A derived tree cannot be made as asked.
    #[error("cannot derive from build `{base}`: {fault}")]
    Derive {
        /// The base build.
        base: Digest,
        /// What does not fit.
        fault: DeriveFault,
    },
    /// A stored file is of a later release.
    #[error("cannot read `{what}`: its format {found} is newer than {known}, which this release knows")]
    Newer {
        /// A path below the builds' folder.
        what: String,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The machine said no.
    #[error("cannot {verb} `{}`", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Begins with `/`.
    #[error("has an absolute name")]
    Absolute,
    /// Has a `..` component.
    #[error("has `..` in its name")]
    Parent,
    /// A drive's letter and a colon.
    #[error("has a drive in its name")]
    Drive,
    /// An empty or `.` component within the name.
    #[error("has an empty or `.` part in its name")]
    OddPart,
    /// A NUL, a line break, another control character.
    #[error("has a control character in its name")]
    Control,
    /// A backslash.
    #[error("has a backslash in its name")]
    Backslash,
    /// Not UTF-8, or not marked so.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// Unicode has another form for the same text.
    #[error("has a name that is not in composed form (Unicode's NFC)")]
    NotComposed,
    /// Nothing at all.
    #[error("has an empty name")]
    NoName,
    /// Too many bytes or parts in one name.
    #[error("has a name that is too long or too deep")]
    LongName,
    /// The same name twice.
    #[error("is there twice")]
    Duplicate,
    /// Another member differs only in case.
    #[error("differs from `{0}` only in upper and lower case")]
    CaseTwin(String),
    /// A part of its path is a file or link.
    #[error("lies below `{0}`, which is not a folder")]
    BelowFile(String),
    /// A folder and something else have one name.
    #[error("is both a folder and something else")]
    TwoKinds,
    /// The link leaves the tree.
    #[error("is a link to `{0}`, which leaves the tree")]
    LinkOutside(String),
    /// Links in a circle or too many in a row.
    #[error("is a link to `{0}`, which never arrives")]
    LinkLoop(String),
    /// A hard link to what has not been seen.
    #[error("is a hard link to `{0}`, which no earlier file has")]
    HardLink(String),
    /// A device, pipe or socket.
    #[error("is a {0}, which no build needs")]
    Special(&'static str),
    /// The parser of one tool would see another archive than that of the next.
    #[error("has a header that can be read in two ways: {0}")]
    Ambiguous(String),
    /// Something this release does not take.
    #[error("{0}")]
    Unsupported(String),
}

/// What does not fit when deriving.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveFault {
    /// A dropped path is not in the base.
    #[error("`{0}` is to be dropped and is not there")]
    DropMissing(String),
    /// A taken path is not in its build.
    #[error("`{path}` is to be taken from build `{from}` and is not there")]
    TakeMissing {
        /// The build to take from.
        from: Digest,
        /// The path in it.
        path: String,
    },
    /// There is already something at the new place.
    #[error("`{0}` is to be added and is there already")]
    Collision(String),
    /// A path is not a clean relative path, or a link would leave the tree.
    #[error("`{path}` {fault}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl BuildError {
    pub(super) fn member(source_path: &Path, member: &[u8], fault: Fault) -> Self {
        Self::Member { source_path: source_path.to_owned(), member: printable(member), fault }
    }

    pub(super) fn corrupt(source_path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { source_path: source_path.to_owned(), detail: detail.into() }
    }

    pub(super) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { verb, path: path.to_owned(), source }
    }

    pub(super) fn damaged(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), detail: detail.into() }
    }

    /// A full disk or quota, by whichever error it came.
    pub(super) fn is_no_space(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// A name as it can be shown: nothing a terminal would act on, at most 200 characters.
pub(super) fn printable(name: &[u8]) -> String {
    let shown: String =
        String::from_utf8_lossy(&name[..name.len().min(800)]).escape_debug().take(200).collect();
    if shown.chars().count() == 200 || name.len() > 800 { format!("{shown}…") } else { shown }
}
