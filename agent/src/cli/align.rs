//! `stoker align`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, Lines};
use super::out::clean_line;
use super::progress::Shown;
use super::table::{Table, terminal_width};
use super::{Context, End, follow, source};
use crate::api::align::{AlignCheck, Alignment, Explained, Gap};
use crate::api::types::Progress;
use crate::problem::{Problem, codes};

/// Say how a build fits what it would run with, or how an application does
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker align check ./server-2.1.tar.gz --with db=9.6 --jar ./extra.jar
  stoker align explain web --format json")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a build before it is attached; nothing is changed
    #[command(after_help = "Examples:
  stoker align check ./server-2.1.tar.gz --with db=9.6 --with java=17
  stoker align check recipe:2.1 --with db=http://10.0.0.5:8080/ --jar ./mine.jar --format json")]
    Check {
        /// A file, a folder, https://…#sha512=HEX, recipe:VERSION or build:DIGEST
        source: String,
        /// What it would run with: a version, an address, or a SOURCE; charms say which names they know
        #[arg(long, value_name = "NAME=VALUE")]
        with: Vec<String>,
        /// A jar of your own that is to run on it
        #[arg(long, value_name = "FILE")]
        jar: Vec<String>,
        /// The charm that judges; the only one that can without it
        #[arg(long)]
        charm: Option<String>,
    },
    /// Show how an application is aligned: level, evidence, files swapped, what was run to prove it
    Explain {
        /// The application
        app: String,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    match arguments.verb {
        Verb::Check { source: from, with, jar, charm } => {
            let mut pairs = BTreeMap::new();
            for text in &with {
                let (name, value) = source::pair(text)?;
                let local = value.starts_with('.') || value.starts_with('/');
                pairs.insert(name, if local { source::source(&value)? } else { value });
            }
            let asked = AlignCheck {
                source: source::source(&from)?,
                charm: charm.as_deref().map(source::charm).transpose()?,
                with: pairs,
                jars: jar.iter().map(|jar| source::existing(jar)).collect::<Result<_, _>>()?,
            };
            let client = context.client()?;
            let wait =
                async { answered(client.post_lines(Client::root(&["align"]), &asked).await?, context).await };
            let found = follow::interruptible(wait, || {
                Problem::new(codes::INTERRUPTED, "stopped: the check is given up, and nothing was changed")
                    .fix("run the command again; what was taken in for it is still there")
            })
            .await?;
            context.out.show(&found, checked)
        }
        Verb::Explain { app } => {
            let client = context.client()?;
            let found: Explained = client.get(client.at(&["applications", &app, "alignment"])).await?;
            context.out.show(&found, explained)
        }
    }
}

async fn answered(mut lines: Lines, context: &Context) -> Result<Alignment, Problem> {
    let mut shown = Shown::new(context.out);
    while let Some(line) = lines.next::<Progress>().await? {
        match line {
            Progress::Step { step, done, total } => shown.step(&step, done, total),
            Progress::Aligned(found) => return Ok(*found),
            Progress::Problem(problem) => return Err(*problem),
            Progress::Done(_) | Progress::Reply(_) | Progress::Verified(_) => {}
        }
    }
    Err(Problem::new(codes::UNREACHABLE, "the agent went away before it answered").fix("stoker status"))
}

fn checked(found: &Alignment) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<8}{}", clean_line(value));
        }
    };
    line("level", &found.level);
    let client = |key: &str| found.client.get(key).filter(|version| !version.is_empty());
    match (client("shipped"), client("chosen")) {
        (Some(shipped), Some(chosen)) if shipped != chosen => {
            line("client", &format!("{chosen} in place of {shipped}"));
        }
        (_, Some(chosen)) => line("client", chosen),
        _ => {}
    }
    line("says", &found.says);
    line("fix", &found.fix);
    let works = found.works.iter().map(|(name, works)| (name.as_str(), works.ok, &works.by, &works.why));
    text.push('\n');
    text.push_str(&workloads(works));
    if !found.gaps.is_empty() {
        text.push_str("\nGaps, by jar:\n");
        text.push_str(&by_jar(&found.gaps));
        if found.more_gaps > 0 {
            let _ = writeln!(text, "  and {} more", found.more_gaps);
        }
    }
    text
}

fn workloads<'a>(works: impl Iterator<Item = (&'a str, bool, &'a String, &'a String)>) -> String {
    let mut table = Table::new(&["Workload", "Works", "By", "Why"]);
    for (name, ok, by, why) in works {
        let ok = if ok { "yes" } else { "no" };
        table.row([clean_line(name), ok.to_owned(), clean_line(by), clean_line(why)]);
    }
    table.render(terminal_width())
}

fn by_jar(gaps: &[Gap]) -> String {
    let mut jars: BTreeMap<&str, Vec<&Gap>> = BTreeMap::new();
    for gap in gaps {
        jars.entry(&gap.jar).or_default().push(gap);
    }
    let mut text = String::new();
    for (jar, gaps) in jars {
        let _ = writeln!(text, "  {}", clean_line(jar));
        for gap in gaps {
            let harmless = if gap.harmless.is_empty() {
                String::new()
            } else {
                format!("  (harmless: {})", gap.harmless)
            };
            let line = format!("{}  ->  {}{harmless}", gap.class, gap.target);
            let _ = writeln!(text, "    {}", clean_line(&line));
        }
    }
    text
}

fn explained(found: &Explained) -> String {
    let mut text = String::new();
    if found.verdicts.is_empty() {
        let _ = writeln!(text, "{}: nothing to align with", found.app);
    }
    let said = |value: &Value| clean_line(value.as_str().unwrap_or_default());
    for verdict in &found.verdicts {
        for name in ["level", "says", "fix"] {
            let value = said(&verdict[name]);
            if !value.is_empty() {
                let _ = writeln!(text, "{name:<8}{value}");
            }
        }
        let works = verdict["works"].as_object().into_iter().flatten();
        let works: Vec<(&str, bool, String, String)> = works
            .map(|(name, work)| (name.as_str(), work["ok"] == true, said(&work["by"]), said(&work["why"])))
            .collect();
        text.push('\n');
        text.push_str(&workloads(works.iter().map(|(name, ok, by, why)| (*name, *ok, by, why))));
    }
    for tree in &found.swapped {
        let _ = writeln!(text, "\nFiles swapped in tree {}:", clean_line(&tree.tree));
        for path in &tree.drop {
            let _ = writeln!(text, "  -  {}", clean_line(path));
        }
        for (path, origin) in &tree.taken {
            let of = |key: &str| origin.get(key).map(|value| clean_line(value)).unwrap_or_default();
            let _ = writeln!(text, "  +  {}  {}", clean_line(path), of("digest"));
            let _ = writeln!(text, "       {} of build {} ({})", of("path"), of("build"), of("source"));
        }
    }
    for (name, proof) in &found.proofs {
        let _ = write!(text, "\nTask {}: {}", clean_line(name), said(&proof["state"]));
        for key in ["reason", "result"] {
            let value = match &proof[key] {
                Value::String(value) => value.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            if !value.is_empty() {
                let _ = write!(text, "\n  {}", super::table::cut(&clean_line(&value), 400));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::align::Works;
    use serde_json::json;

    #[test]
    fn an_answer_is_level_workloads_gaps_and_fix() {
        let gap = |class: &str| Gap {
            jar: "extra.jar".into(),
            class: class.into(),
            target: "org.x.Y.z()V".into(),
            ..Gap::default()
        };
        let found = Alignment {
            level: "older-client".into(),
            says: "an older client".into(),
            fix: "attach another".into(),
            client: [("shipped", "1.0"), ("chosen", "2.0")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            works: [("reading".to_owned(), Works { ok: false, by: "linked".into(), why: "gone".into() })]
                .into(),
            gaps: vec![gap("a.A"), Gap { harmless: "never called".into(), ..gap("a.B") }],
            more_gaps: 3,
            ..Alignment::default()
        };
        let text = checked(&found);
        for part in [
            "older-client",
            "2.0 in place of 1.0",
            "attach another",
            "linked",
            "a.A  ->  org.x.Y.z()V",
            "(harmless: never called)",
            "and 3 more",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("extra.jar").count(), 1, "{text}");
    }

    #[test]
    fn an_explanation_names_files_and_proofs() {
        let found: Explained = serde_json::from_value(json!({"app": "web", "unit": "web/0",
            "verdicts": [{"level": "exact", "says": "fits", "works": {"reading": {"ok": true, "by": "run"}}}],
            "swapped": [{"tree": "server", "drop": ["lib/a-1.jar"], "taken": {"lib/a-2.jar":
                {"digest": "b3:aa", "build": "b3:bb", "path": "share/a-2.jar", "source": "recipe:2"}}}],
            "proofs": {"canary": {"state": "done", "result": {"ok": true}, "reason": ""}}}))
        .unwrap();
        let text = explained(&found);
        for part in
            ["exact", "reading", "lib/a-1.jar", "b3:aa", "recipe:2", "Task canary: done", r#"{"ok":true}"#]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            explained(&Explained { app: "web".into(), ..Explained::default() }).contains("nothing to align")
        );
    }
}
