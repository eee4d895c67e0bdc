//! Builds from links: fetched once, looked at only when they are what their digest says. Owns what a refusal is to a
//! user, and which of the settings and variables matter; must not connect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stoker_host::builds::{Builds, Download};
use stoker_host::fetch::{FetchError, Fetcher, Link, LinkError, Proxy, Rules};

use super::{MadeBuild, Steps, layouts, refused};
use crate::api::ProgressSink;
use crate::core::{Core, LoadedCharm};
use crate::problem::{Problem, chain, codes};
use crate::settings::Settings;

type Turn = tokio::sync::Mutex<()>;

/// Who fetches what at this moment, by digest: a second one waits for the first and finds the build.
static FETCHING: Mutex<BTreeMap<String, Weak<Turn>>> = Mutex::new(BTreeMap::new());

fn turn(link: &Link) -> Arc<Turn> {
    let mut all = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, turn| turn.strong_count() > 0);
    let hex = link.checksum().hex();
    if let Some(turn) = all.get(&hex).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(Turn::default());
    all.insert(hex, Arc::downgrade(&turn));
    turn
}

/// What a text that is no link is to a user. The text may have a password in it: it is not shown.
fn no_link(error: LinkError) -> Problem {
    let problem = Problem::new(codes::LINK, format!("cannot fetch the link: {error}"));
    problem.fix("write https://HOST/PATH#sha512=HEX, with the digest that the publisher gives")
}

/// What a failed download is to a user.
fn failed(error: &FetchError) -> Problem {
    let code = match error {
        FetchError::Private { .. } => codes::PRIVATE,
        FetchError::Mismatch { .. } => codes::CHECKSUM,
        FetchError::NoSpace { .. } => codes::NO_SPACE,
        FetchError::Authorities { .. } => codes::SETTINGS,
        FetchError::Write { .. } | FetchError::Start(_) => codes::INTERNAL,
        _ => codes::DOWNLOAD,
    };
    let problem = Problem::new(code, chain(error));
    match error {
        FetchError::Private { host, .. } => problem.fix(format!(
            "if it is meant to be reached, name {host} or its network in `sources.allow-private`"
        )),
        FetchError::Certificate { .. } => {
            problem.fix("name the file with the authority that signed it in `sources.ca-file`")
        }
        FetchError::TooLarge { .. } => problem.fix("raise `sources.max-size`, or attach it as a file"),
        FetchError::Mismatch { .. } => {
            problem.fix("compare the digest with the one that the publisher gives, and the link with the file that it is of")
        }
        FetchError::NoSpace { .. } => problem.fix("free some space: stoker builds gc"),
        FetchError::Cut { .. } | FetchError::Status { .. } => {
            problem.fix("try again when the server answers, or download it otherwise and attach the file")
        }
        _ => problem.fix("download it otherwise and attach the file"),
    }
}

/// The rules that the settings say, with the proxy of the variables that recipes get too.
fn rules(settings: &Settings) -> Result<Rules, Problem> {
    let variable = |lower: &str, upper: &str| {
        [lower, upper]
            .into_iter()
            .filter(|name| settings.passes_to_recipes(name))
            .find_map(|name| std::env::var(name).ok())
            .unwrap_or_default()
    };
    let proxy = Proxy::parse(&variable("https_proxy", "HTTPS_PROXY"), &variable("no_proxy", "NO_PROXY"));
    Ok(Rules {
        reach: settings.sources.reach.clone(),
        most_bytes: settings.sources.bytes,
        patience: settings.sources.timeout,
        ca_file: settings.sources.ca_file.clone(),
        proxy: proxy.map_err(|error| failed(&error))?,
        ..Rules::default()
    })
}

/// Fetches a link's file.
async fn fetch(
    builds: &Arc<Builds>,
    settings: &Settings,
    link: &Link,
    progress: &ProgressSink,
) -> Result<Download, Problem> {
    let rules = rules(settings)?;
    let (builds, link, steps) = (Arc::clone(builds), link.clone(), Steps(progress.clone(), "fetching"));
    let fetched = tokio::task::spawn_blocking(move || {
        let fetcher = Fetcher::new(rules)?;
        builds.download(&fetcher, &link, &steps)
    });
    let fetched = fetched.await.map_err(|e| Problem::internal("cannot fetch the file", &e))?;
    fetched.map_err(|error| failed(&error))
}

/// A file's refusal speaks of the link, not of where the file was meanwhile.
fn named(problem: Problem, file: &Download, link: &Link) -> Problem {
    let title = problem.title.replace(&file.path().display().to_string(), &link.shown());
    Problem { title, ..problem }
}

/// The file of a link where there is no agent.
pub(super) async fn fetch_without_agent(
    builds: &Arc<Builds>,
    settings: &Settings,
    text: &str,
    progress: &ProgressSink,
) -> Result<Download, Problem> {
    let link = Link::parse(text).map_err(no_link)?;
    fetch(builds, settings, &link, progress).await
}

impl Core {
    /// Makes a build of a link. One whose digest is known is not fetched.
    pub(super) async fn make_from_link(
        &self,
        text: &str,
        charms: &[LoadedCharm],
        product: &str,
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        let link = Link::parse(text).map_err(no_link)?;
        let layouts: Vec<_> = charms.iter().flat_map(layouts).collect();
        let turn = turn(&link);
        let _turn = turn.lock().await;
        if let Some(digest) = self.builds.known_download(link.checksum(), &layouts)
            && self.builds.record(&digest).map_err(|e| refused(&e))?.is_some()
        {
            return self.known_build(&digest.to_string(), charms, product).await;
        }
        let file = fetch(&self.builds, &self.settings(), &link, progress).await?;
        let path = PathBuf::from(file.path());
        let taken = self
            .workshop()
            .ingest(path, layouts.clone(), progress)
            .await
            .map_err(|problem| named(problem, &file, &link))?;
        let made = self.record(taken.clone(), &link.shown(), charms, product).await?;
        self.builds.remember_download(link.checksum(), &layouts, &taken);
        self.note_size(&made, file.bytes())?;
        Ok(made)
    }

    /// The archive's size, which cannot be read from a link.
    fn note_size(&self, made: &MadeBuild, bytes: u64) -> Result<(), Problem> {
        let fail = |e| refused(&e);
        let Some(mut record) = self.builds.record(&made.digest).map_err(fail)? else { return Ok(()) };
        match &mut record.archive {
            Some(archive) if archive.size != bytes => archive.size = bytes,
            _ => return Ok(()),
        }
        self.builds.put_record(&record).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_codes_and_fixes() {
        let said = no_link(Link::parse("https://me:secret@x/").unwrap_err());
        assert_eq!((said.code.as_str(), said.exit_code()), ("ST0026", 2));
        assert!(!said.to_string().contains("secret"), "{said}");
        let private = FetchError::Private {
            url: "https://x/#sha256=00".into(),
            host: "x".into(),
            address: "10.0.0.1".parse().unwrap(),
            kind: "a private network",
        };
        let said = failed(&private).to_string();
        assert!(said.contains("x is at 10.0.0.1, a private network [ST0027]"), "{said}");
        assert!(said.contains("fix: if it is meant to be reached, name x"), "{said}");
    }

    #[test]
    fn the_same_digest_has_one_turn() {
        let link = |host: &str| Link::parse(&format!("https://{host}/#sha256={}", "ab".repeat(32))).unwrap();
        let (one, other) = (turn(&link("a")), turn(&link("b")));
        assert!(Arc::ptr_eq(&one, &other));
        drop((one, other));
        let different = Link::parse(&format!("https://a/#sha256={}", "cd".repeat(32))).unwrap();
        assert_eq!(Arc::strong_count(&turn(&different)), 1);
    }
}
