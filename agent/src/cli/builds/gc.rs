//! `stoker builds gc` and `stoker builds remove`.

use std::fmt::Write as _;

use crate::api::stock::{CollectBuilds, CollectedBuilds};
use crate::cli::client::Client;
use crate::cli::out::{bytes, clean};
use crate::cli::resources::short;
use crate::cli::{Context, End};

/// Collects, or says what would be collected; with `only` one build is removed.
pub(super) async fn run(context: &Context, apply: bool, only: Option<String>) -> Result<(), End> {
    let asked = CollectBuilds { apply, only };
    let done: CollectedBuilds = context.client()?.post(Client::root(&["builds", "collect"]), &asked).await?;
    context.out.show(&done, |done| text(done, asked.only.is_some()))
}

fn text(done: &CollectedBuilds, one: bool) -> String {
    let mut text = String::new();
    let verb = if done.applied { "removed" } else { "would remove" };
    let leftovers = if done.leftovers == 0 {
        String::new()
    } else {
        format!(", {} put aside by repairs", done.leftovers)
    };
    let _ = writeln!(
        text,
        "{verb} {}, {}, {}{leftovers}: {}",
        count(done.removed.len() as u64, "build"),
        count(done.trees, "tree"),
        count(done.blobs, "file"),
        bytes(done.bytes)
    );
    for gone in &done.removed {
        let (what, source) = (clean(&gone.what), clean(&gone.source));
        let _ = writeln!(text, "  {}  {what}  {}  {source}", short(&gone.digest), bytes(gone.bytes));
    }
    if !done.kept.is_empty() {
        let _ = writeln!(text, "keeps {}", count(done.kept.len() as u64, "build"));
    }
    for kept in &done.kept {
        let _ = writeln!(text, "  {}  {}", short(&kept.digest), clean(&kept.what));
        for why in &kept.why {
            let _ = writeln!(text, "    for {}", clean(why));
        }
    }
    if !done.applied && (done.blobs > 0 || done.trees > 0 || done.leftovers > 0 || !done.removed.is_empty()) {
        let again = if one { "stoker builds remove DIGEST" } else { "stoker builds gc --yes" };
        let _ = writeln!(text, "nothing was removed; to do it: {again}");
    }
    text
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stock::{GoneBuild, KeptBuild};

    #[test]
    fn a_dry_run_says_so_and_why_the_rest_is_kept() {
        let digest = format!("b3:{}", "a".repeat(64));
        let mut done = CollectedBuilds {
            removed: vec![GoneBuild {
                digest: digest.clone(),
                what: "server 1".into(),
                source: "/x".into(),
                bytes: 2048,
            }],
            kept: vec![KeptBuild { digest, what: "server 2".into(), why: vec!["release 3 of web".into()] }],
            blobs: 3,
            bytes: 2048,
            ..CollectedBuilds::default()
        };
        let said = text(&done, false);
        assert!(said.starts_with("would remove 1 build, 0 trees, 3 files: 2.00 KiB\n"), "{said}");
        assert!(said.contains("server 2\n    for release 3 of web\n"), "{said}");
        assert!(said.ends_with("to do it: stoker builds gc --yes\n"), "{said}");
        done.applied = true;
        let said = text(&done, false);
        assert!(said.starts_with("removed 1 build") && !said.contains("--yes"), "{said}");
    }
}
