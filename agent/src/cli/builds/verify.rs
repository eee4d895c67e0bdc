//! `stoker builds verify`.

use std::fmt::Write as _;

use crate::api::stock::{VerifiedBuilds, VerifyBuilds};
use crate::api::types::Progress;
use crate::cli::client::Client;
use crate::cli::out::{bytes, clean};
use crate::cli::progress::Shown;
use crate::cli::{Context, End, follow};
use crate::problem::{Problem, codes};

/// Verifies; ends with exit status 1 where something is damaged and not mended.
pub(super) async fn run(context: &Context, asked: VerifyBuilds) -> Result<(), End> {
    let repair = asked.repair;
    let done = follow::interruptible(ask(context, asked), || {
        Problem::new(codes::INTERRUPTED, "stopped verifying: what was mended by now stays so")
            .fix("stoker builds verify")
    })
    .await?;
    context.out.show(&done, text)?;
    if done.left == 0 {
        return Ok(());
    }
    let mut problem = Problem::new(codes::DAMAGED, format!("builds are damaged: {} found", done.left));
    problem = match (repair, done.damage.iter().find(|damage| !damage.remedy.is_empty())) {
        (false, _) => problem.fix("stoker builds verify --repair"),
        (true, Some(damage)) => problem.fix(damage.remedy.clone()),
        (true, None) => problem.fix("attach what is damaged again"),
    };
    Err(problem.into())
}

async fn ask(context: &Context, asked: VerifyBuilds) -> Result<VerifiedBuilds, Problem> {
    let client = context.client()?;
    let mut lines = client.post_lines(Client::root(&["builds", "verify"]), &asked).await?;
    let mut shown = Shown::new(context.out);
    while let Some(line) = lines.next::<Progress>().await? {
        match line {
            Progress::Step { step, done, total } => shown.step(&step, done, total),
            Progress::Verified(done) => return Ok(*done),
            Progress::Problem(problem) => return Err(*problem),
            Progress::Done(_) | Progress::Reply(_) | Progress::Aligned(_) => {}
        }
    }
    Err(Problem::new(codes::UNREACHABLE, "the agent went away before it answered")
        .fix("stoker builds verify"))
}

fn text(done: &VerifiedBuilds) -> String {
    let mut text = format!(
        "verified {} files ({}), {} trees, {} builds\n",
        done.blobs,
        bytes(done.bytes),
        done.trees,
        done.builds
    );
    for damage in &done.damage {
        let of =
            if damage.builds.is_empty() { String::new() } else { format!(" [{}]", damage.builds.join(", ")) };
        let _ = writeln!(text, "{}: {}{}", clean(&damage.path), clean(&damage.detail), clean(&of));
        if !damage.repaired.is_empty() {
            let _ = writeln!(text, "  repaired: {}", clean(&damage.repaired));
        } else if !damage.remedy.is_empty() {
            let _ = writeln!(text, "  not repaired: {}", clean(&damage.remedy));
        }
    }
    let mended = done.damage.len() as u64 - done.left;
    let _ = match (done.damage.len(), mended, done.left) {
        (0, ..) => writeln!(text, "all is as its digest says"),
        (_, mended, 0) => writeln!(text, "{mended} repaired, none left"),
        (_, 0, left) => writeln!(text, "{left} damaged"),
        (_, mended, left) => writeln!(text, "{mended} repaired, {left} left"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stock::BuildDamage;

    #[test]
    fn what_was_found_and_what_helps_is_said() {
        let clean = VerifiedBuilds { blobs: 2, bytes: 10, trees: 1, builds: 1, ..VerifiedBuilds::default() };
        assert!(text(&clean).ends_with("all is as its digest says\n"));
        let damage = |repaired: &str, remedy: &str| BuildDamage {
            path: "blobs/aa/aa".into(),
            detail: "its content is other".into(),
            builds: vec!["server 1 abc".into()],
            repaired: repaired.into(),
            remedy: remedy.into(),
        };
        let found = VerifiedBuilds {
            damage: vec![damage("from a tree", ""), damage("", "put it back")],
            left: 1,
            ..clean
        };
        let said = text(&found);
        assert!(said.contains("other [server 1 abc]\n  repaired: from a tree\n"), "{said}");
        assert!(said.contains("not repaired: put it back\n1 repaired, 1 left\n"), "{said}");
    }
}
