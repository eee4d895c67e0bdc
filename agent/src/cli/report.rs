//! `stoker report`: everything that helps to understand a host from afar, as one page and an archive, without what is
//! secret. Owns what is written and where; what is in it is gathered in [`gather`], redacted in [`redact`] and shown in
//! [`page`]. It changes nothing, and needs no agent: what only one could say is then missing, and named.

mod gather;
mod page;
mod redact;
mod tar;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Context, End, out};
use crate::core::{now, rfc3339};
use crate::problem::{Problem, codes};
use gather::{Body, Part};
use redact::Redactor;

/// Write what helps to understand this host from afar: a page and an archive, without secrets
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The page needs no network and no other file; the archive has the same as JSON and text. Both are for their
owner alone. It is run as root, or as the agent's user, who may know the secrets that are taken out: values of secrets in
every spelling, and whatever the name of its key calls a password, a token or a key. Look it through before you hand it on.

Examples:
  stoker report
  stoker report --output /tmp/host-7 --format json"
)]
pub(crate) struct Arguments {
    /// Where to: FILE.html and FILE.tar are written; stoker-report-HOST-TIME here without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How many lines of the end of each log
    #[arg(long, default_value = "200", value_name = "N")]
    lines: usize,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let time = now();
    let redactor = gather::secrets(&context.paths)?;
    let gathered = gather::all(context, arguments.lines).await;
    let redactor = gather::learn(redactor, &gathered.parts);
    let parts: Vec<Part> = gathered.parts.iter().map(|part| redacted(part, &redactor)).collect();
    let omitted: Vec<Value> = gathered
        .omitted
        .iter()
        .map(|(what, why)| redactor.document(&json!({ "what": what, "why": why })))
        .collect();

    let host = context_host(&parts);
    let stamp: String = rfc3339(time).chars().filter(char::is_ascii_alphanumeric).take(15).collect();
    let base = arguments.output.unwrap_or_else(|| PathBuf::from(format!("stoker-report-{host}-{stamp}")));
    let base = std::path::absolute(&base).unwrap_or(base);
    let title = format!("stoker on {host}, {}", rfc3339(time));
    let page = page::page(&title, &parts, &omitted).into_bytes();
    let mut files: Vec<(String, Vec<u8>)> = parts.iter().map(file).collect();
    files.push(("omitted.json".to_owned(), pretty(&json!(omitted)).into_bytes()));
    files.push(("report.html".to_owned(), page.clone()));
    let name = base.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let archive = tar::archive(&name.chars().take(60).collect::<String>(), &files, time / 1000);
    // Its own work is looked through once more: what is left of a secret is no report.
    if redactor.found_in(&page)
        || files.iter().any(|(name, body)| redactor.found_in(body) || redactor.found_in(name.as_bytes()))
    {
        let title = "cannot write the report: a secret would be in it";
        return Err(Problem::new(codes::INTERNAL, title)
            .fix("tell the makers of stoker; nothing was written")
            .into());
    }
    let (html, tar) = (with_end(&base, ".html"), with_end(&base, ".tar"));
    write(&html, &page)?;
    write(&tar, &archive)?;
    let document = json!({
        "html": {"path": html, "bytes": page.len()}, "tar": {"path": tar, "bytes": archive.len(), "files": files.len()},
        "removed": count(&files), "omitted": omitted,
    });
    context.out.show(&document, |_| text(&html, &tar, page.len(), archive.len(), &omitted))?;
    Ok(())
}

fn text(html: &Path, tar: &Path, page: usize, archive: usize, omitted: &[Value]) -> String {
    let size = |n: usize| out::bytes(u64::try_from(n).unwrap_or(u64::MAX));
    let mut text = format!("{} ({})\n{} ({})\n", html.display(), size(page), tar.display(), size(archive));
    for each in omitted {
        let word = |key: &str| out::clean(each[key].as_str().unwrap_or_default()).into_owned();
        let _ = writeln!(text, "without {}: {}", word("what"), word("why"));
    }
    text
}

fn context_host(parts: &[Part]) -> String {
    let facts = parts.iter().find(|part| part.name == "host.json").map(|part| &part.body);
    let name = match facts {
        Some(Body::Document(facts)) => facts["name"].as_str().unwrap_or("host").to_owned(),
        _ => "host".to_owned(),
    };
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' })
        .take(40)
        .collect()
}

fn with_end(base: &Path, end: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn redacted(part: &Part, redactor: &Redactor) -> Part {
    let body = match &part.body {
        Body::Document(document) => Body::Document(redactor.document(document)),
        Body::Text(text) => Body::Text(redactor.text(&out::clean_lines(text))),
    };
    Part { name: redactor.text(&part.name), title: redactor.text(&part.title), body }
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

fn file(part: &Part) -> (String, Vec<u8>) {
    let body = match &part.body {
        Body::Document(document) => pretty(document),
        Body::Text(text) => text.clone() + "\n",
    };
    (part.name.clone(), body.into_bytes())
}

/// How often something was removed.
fn count(files: &[(String, Vec<u8>)]) -> usize {
    let texts = files.iter().filter(|(name, _)| name != "report.html");
    texts.map(|(_, body)| String::from_utf8_lossy(body).matches(redact::HIDDEN).count()).sum()
}

/// A new file for its owner alone; one that is there is never overwritten.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|mut file| file.write_all(bytes)).map_err(|error| {
        let title = format!("cannot write the report to `{}`: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Problem::new(codes::CONFLICT, title).fix("give another --output")
            }
            std::io::ErrorKind::PermissionDenied => {
                Problem::new(codes::NOT_ALLOWED, title).fix("give an --output that you may write to")
            }
            std::io::ErrorKind::NotFound => {
                Problem::new(codes::NOT_FOUND, title).fix("give an --output in a folder that is there")
            }
            _ => Problem::new(codes::INTERNAL, title),
        }
    })
}
