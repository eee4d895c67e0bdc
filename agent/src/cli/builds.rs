//! `stoker builds`.

mod export;
mod gc;
mod import;
mod verify;

use std::fmt::Write as _;

use clap::Subcommand;

use super::out::{bytes, clean};
use super::progress::Shown;
use super::resources::short;
use super::table::{Table, terminal_width};
use super::{Context, End, follow, source};
use crate::api::stock::{BuildsUsage, VerifyBuilds};
use crate::api::types::{AddBuild, Build, Progress};
use crate::cli::client::{Client, Lines};
use crate::problem::{Problem, codes};

/// List, add, show, verify or collect builds
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker builds add ./server-2.1.tar.gz --format json
  stoker builds gc")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all builds (the default)
    List,
    /// Add a build that no application uses yet
    Add {
        /// A file, a folder, https://…#sha512=HEX, recipe:VERSION or build:DIGEST
        source: String,
        /// The charm whose recipe and inspection are used; all are tried without it
        #[arg(long)]
        charm: Option<String>,
    },
    /// Write a build as a stream, for a host without a way to where it came from
    Export(export::Arguments),
    /// Take in what `builds export` wrote
    Import(import::Arguments),
    /// Show one build
    Show {
        /// Its digest, or the beginning of it
        digest: String,
    },
    /// Read all that builds are made of, and say what is damaged
    #[command(after_help = "Examples:
  stoker builds verify --repair
  stoker builds verify 4f9c01d2a7b8 --format json")]
    Verify {
        /// Only these, by digest or the beginning of it
        digests: Vec<String>,
        /// Put aside what is damaged, and take it again from where it came from
        #[arg(long)]
        repair: bool,
    },
    /// Say which builds nothing refers to, and what their removal would free
    #[command(after_help = "Examples:
  stoker builds gc
  stoker builds gc --yes")]
    Gc {
        /// Remove them
        #[arg(short, long, alias = "apply")]
        yes: bool,
    },
    /// Remove a build that nothing refers to
    Remove {
        /// Its digest, or the beginning of it
        digest: String,
        /// Only say what would be freed
        #[arg(long)]
        preview: bool,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    match arguments.verb {
        None | Some(Verb::List) => {
            let client = context.client()?;
            let builds: Vec<Build> = client.get(Client::root(&["builds"])).await?;
            context.out.show(&builds, |builds| table(builds))?;
            if context.out.is_text() {
                let usage: BuildsUsage = client.get(Client::root(&["builds", "usage"])).await?;
                context.out.talk(&total(&usage));
            }
            Ok(())
        }
        Some(Verb::Show { digest }) => {
            let build: Build = context.client()?.get(Client::root(&["builds", &digest])).await?;
            context.out.show(&build, text)
        }
        Some(Verb::Verify { digests, repair }) => {
            verify::run(context, VerifyBuilds { only: digests, repair }).await
        }
        Some(Verb::Gc { yes }) => gc::run(context, yes, None).await,
        Some(Verb::Remove { digest, preview }) => gc::run(context, !preview, Some(digest)).await,
        Some(Verb::Export(arguments)) => export::run(arguments, context).await,
        Some(Verb::Import(arguments)) => {
            let build = import::run(arguments, context).await?;
            context.out.show(&build, text)
        }
        Some(Verb::Add { source: from, charm }) => {
            let charm = charm.as_deref().map(source::charm).transpose()?;
            let build = add(context, AddBuild { source: source::source(&from)?, charm }).await?;
            context.out.show(&build, text)
        }
    }
}

async fn add(context: &Context, add: AddBuild) -> Result<Build, Problem> {
    let client = context.client()?;
    let asked = async { taken_in(client.post_lines(Client::root(&["builds"]), &add).await?, context).await };
    follow::interruptible(asked, || {
        Problem::new(codes::INTERRUPTED, "stopped: the build is given up, and nothing of it is kept")
            .fix("run the command again; what its recipe has downloaded is still there")
    })
    .await
}

/// Shows how far the agent is with taking a build in, up to the build.
async fn taken_in(mut lines: Lines, context: &Context) -> Result<Build, Problem> {
    let mut shown = Shown::new(context.out);
    while let Some(line) = lines.next::<Progress>().await? {
        match line {
            Progress::Step { step, done, total } => shown.step(&step, done, total),
            Progress::Done(build) => return Ok(*build),
            Progress::Problem(problem) => return Err(*problem),
            Progress::Reply(_) | Progress::Verified(_) | Progress::Aligned(_) => {}
        }
    }
    Err(Problem::new(codes::UNREACHABLE, "the agent went away before it answered").fix("stoker builds"))
}

fn fact(build: &Build, name: &str) -> String {
    build.facts[name].as_str().unwrap_or("-").to_owned()
}

fn table(builds: &[Build]) -> String {
    let mut table = Table::new(&[
        "Digest", "Product", "Version", "1Files", "Size", "Unique", "2Shared", "3Added", "Used by", "4Source",
    ]);
    for build in builds {
        table.row([
            short(&build.digest),
            fact(build, "product"),
            fact(build, "version"),
            build.files.to_string(),
            bytes(build.bytes),
            if build.damaged { "damaged".to_owned() } else { bytes(build.unique_bytes) },
            bytes(build.shared_bytes),
            build.added.clone(),
            build.used_by.join(" "),
            build.source.clone(),
        ]);
    }
    if table.is_empty() { "there are no builds\n".to_owned() } else { table.render(terminal_width()) }
}

/// What is on the disk in all; said to people beside the table.
fn total(usage: &BuildsUsage) -> String {
    let all = format!(
        "on disk {} in all, what is shared counted once: {} files, {} trees",
        bytes(usage.disk_bytes),
        usage.blobs,
        usage.trees
    );
    match usage.warm_bytes {
        0 => all,
        warm => format!("{all}; beside them {} that make starts faster", bytes(warm)),
    }
}

fn text(build: &Build) -> String {
    let mut lines = vec![
        ("digest", build.digest.clone()),
        ("product", fact(build, "product")),
        ("version", fact(build, "version")),
        ("files", build.files.to_string()),
        ("bytes", format!("{} ({})", build.bytes, bytes(build.bytes))),
    ];
    if let Some(new) = build.new_bytes {
        lines.push(("new bytes", format!("{new} ({})", bytes(new))));
    }
    if let Some(seconds) = build.seconds {
        lines.push(("seconds", format!("{seconds:.1}")));
    }
    lines.push((
        "on disk",
        format!("{} alone, {} shared", bytes(build.unique_bytes), bytes(build.shared_bytes)),
    ));
    if build.damaged {
        lines.push(("damaged", "files are missing: stoker builds verify --repair".to_owned()));
    }
    lines.push(("source", build.source.clone()));
    if !build.added.is_empty() {
        lines.push(("added", build.added.clone()));
    }
    if !build.used_by.is_empty() {
        lines.push(("used by", build.used_by.join(" ")));
    }
    let mut text = String::new();
    for (name, value) in &lines {
        let _ = writeln!(text, "{name:<10} {}", clean(value));
    }
    if !build.facts.is_null() {
        text.push_str("facts\n");
        for line in serde_json::to_string_pretty(&build.facts).unwrap_or_default().lines() {
            let _ = writeln!(text, "  {}", clean(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_build_says_what_it_cost() {
        let build = Build {
            digest: "b3:00".into(),
            facts: serde_json::json!({"product": "server", "version": "1\x1b[0m"}),
            source: "/x.tgz".into(),
            files: 2,
            bytes: 2048,
            new_bytes: Some(1024),
            seconds: Some(0.25),
            ..Build::default()
        };
        let said = text(&build);
        assert!(said.contains("new bytes  1024 (1.00 KiB)\nseconds    0.2"), "{said}");
        assert!(said.contains("version    1\\u{1b}[0m"), "{said}");
        assert!(!said.contains("used by"));
    }
}
