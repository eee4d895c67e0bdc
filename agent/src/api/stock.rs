//! The documents about builds on the disk: what they take, what is collected, what is damaged. Owns their shapes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What builds take on the disk. GET `/v1/builds/usage`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct BuildsUsage {
    /// Builds.
    pub builds: u64,
    /// Linked trees, derived ones and those of charms among them.
    pub trees: u64,
    /// Files by content, each once.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the disk gives for everything below the builds' folder, each file counted once: what `du` says.
    pub disk_bytes: u64,
    /// Bytes that the disk gives for what goes with trees and can be made again.
    #[serde(default)]
    pub warm_bytes: u64,
}

/// What POST `/v1/builds/collect` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectBuilds {
    /// Do it; otherwise say what would be done.
    #[serde(default)]
    pub apply: bool,
    /// Only this build, by its digest or the beginning of it; refused where something refers to it.
    #[serde(default)]
    pub only: Option<String>,
}

/// What was or would be collected.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct CollectedBuilds {
    /// Whether it was done.
    pub applied: bool,
    /// Builds that went or would go.
    pub removed: Vec<GoneBuild>,
    /// Builds that stay.
    pub kept: Vec<KeptBuild>,
    /// Trees that went or would go.
    pub trees: u64,
    /// Files by content that went or would go.
    pub blobs: u64,
    /// What repairs had put aside.
    pub leftovers: u64,
    /// Bytes that the disk gets back.
    pub bytes: u64,
}

/// A build that is collected.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct GoneBuild {
    /// Its digest.
    pub digest: String,
    /// Its product and version.
    pub what: String,
    /// Where it came from.
    pub source: String,
    /// Bytes that the disk gets back with it.
    pub bytes: u64,
}

/// A build that stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeptBuild {
    /// Its digest.
    pub digest: String,
    /// Its product and version.
    pub what: String,
    /// What refers to it.
    pub why: Vec<String>,
}

/// What POST `/v1/builds/verify` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBuilds {
    /// Only these, by digest or the beginning of it; all when empty.
    #[serde(default)]
    pub only: Vec<String>,
    /// Mend what can be mended.
    #[serde(default)]
    pub repair: bool,
}

/// What was verified, and what was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct VerifiedBuilds {
    /// Files by content that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trees that were compared.
    pub trees: u64,
    /// Builds that were looked through.
    pub builds: u64,
    /// What was found.
    pub damage: Vec<BuildDamage>,
    /// How much of it is not mended.
    pub left: u64,
}

/// Something that is not what its name says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct BuildDamage {
    /// A path below the builds' folder.
    pub path: String,
    /// What was found.
    pub detail: String,
    /// Builds that are not whole because of it: product, version and digest.
    pub builds: Vec<String>,
    /// How it was mended; empty where it was not.
    pub repaired: String,
    /// What helps where it was not.
    pub remedy: String,
}
