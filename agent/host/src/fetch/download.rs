//! The bytes on their way. Owns redirects, going on after a cut, limits and the digest; must not trust a header: a
//! length or range only decides how, never what counts.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, HeaderName, IF_RANGE,
    LAST_MODIFIED, LOCATION, RANGE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;

use super::connect::{Stop, open};
use super::link::{Hasher, Link, LinkError, check, shown};
use super::{FetchError, Fetcher};
use crate::builds::Progress;

/// Bytes a second below which a connection counts as cut.
const SLOWEST: u64 = 1024;
/// Bytes further that make a cut connection a new start of counting tries.
const FURTHER: u64 = 1 << 20;
/// Progress is told each so many bytes.
const STEP: u64 = 1 << 20;
pub(super) fn run(
    fetcher: &Fetcher,
    link: &Link,
    file: &File,
    to: &Path,
    progress: &dyn Progress,
) -> Result<u64, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(FetchError::Start)?;
    let asked = link.shown();
    let mut download = Download {
        fetcher,
        link,
        file,
        to,
        progress,
        asked: asked.clone(),
        at: 0,
        told: 0,
        total: None,
        validator: None,
        hasher: link.checksum().hasher(),
    };
    let fetched = runtime.block_on(async {
        tokio::select! {
            fetched = download.whole() => fetched,
            () = cancelled(progress) => Err(FetchError::Cancelled { url: asked }),
        }
    });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    fetched?;
    download.finish()
}

async fn cancelled(progress: &dyn Progress) {
    while !progress.cancelled() {
        sleep(Duration::from_millis(100)).await;
    }
}

struct Download<'a> {
    fetcher: &'a Fetcher,
    link: &'a Link,
    file: &'a File,
    to: &'a Path,
    progress: &'a dyn Progress,
    asked: String,
    /// Bytes received, hashed and written.
    at: u64,
    told: u64,
    total: Option<u64>,
    /// What the server calls this very file, for going on with it.
    validator: Option<String>,
    hasher: Hasher,
}

impl Download<'_> {
    async fn whole(&mut self) -> Result<(), FetchError> {
        let rules = &self.fetcher.rules;
        let (mut tries, mut furthest) = (0, 0);
        loop {
            let why = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Cut(why)) => why,
            };
            tracing::debug!(url = self.asked, got = self.at, why, "a download was cut");
            if self.at >= furthest + FURTHER {
                furthest = self.at;
                tries = 0;
            }
            tries += 1;
            if tries >= rules.tries {
                return Err(FetchError::Cut { url: self.asked.clone(), why, got: self.at, tries });
            }
            sleep((rules.pause * 2u32.pow(tries.min(6) - 1)).min(rules.patience)).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Stop> {
        let mut url = self.link.url().clone();
        for _ in 0..=self.fetcher.rules.redirects {
            let answer = self.ask(&url).await?;
            match answer.status() {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => url = self.redirected(&url, &answer)?,
                _ => return self.answer(&url, answer).await,
            }
        }
        Err(self.redirect(&shown(&url), "the next of too many redirects"))
    }

    fn redirect(&self, to: &str, why: &'static str) -> Stop {
        let to = to.escape_debug().take(200).collect();
        Stop::Final(FetchError::Redirect { url: self.asked.clone(), to, why })
    }

    fn redirected(&self, from: &Url, answer: &Response<Incoming>) -> Result<Url, Stop> {
        let Some(to) = answer.headers().get(LOCATION) else {
            return Err(self.redirect("nowhere", "which is no place"));
        };
        let place = to.to_str().ok().and_then(|to| from.join(to).ok());
        let Some(place) = place else {
            return Err(self.redirect(&String::from_utf8_lossy(to.as_bytes()), "which is no URL"));
        };
        let why = match check(&place) {
            Ok(()) => return Ok(place),
            Err(LinkError::NotHttps) => "which is not https",
            Err(LinkError::Credentials) => "which has a user or password in it",
            Err(_) => "which is no URL",
        };
        Err(self.redirect(&shown(&place), why))
    }

    async fn ask(&self, url: &Url) -> Result<Response<Incoming>, Stop> {
        let stream = open(self.fetcher, url, &self.asked).await?;
        let cut = |error: hyper::Error| Stop::Cut(format!("{}: {}", host(url), deepest(&error)));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
        // It ends with the sender and the body.
        tokio::spawn(connection);
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::get(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("stoker/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "identity")
            .header(CONNECTION, "close");
        if let Some(validator) = self.validator.as_ref().filter(|_| self.at > 0) {
            request = request.header(RANGE, format!("bytes={}-", self.at)).header(IF_RANGE, validator);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| Stop::Cut(format!("cannot ask {}: {error}", host(url))))?;
        match timeout(self.fetcher.rules.patience, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(cut),
            Err(_) => Err(Stop::Cut(format!("{} does not answer", host(url)))),
        }
    }

    async fn answer(&mut self, url: &Url, answer: Response<Incoming>) -> Result<(), Stop> {
        let status = answer.status();
        let text = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        match status {
            StatusCode::OK => {
                // The whole file, also where only its rest was asked for.
                self.begin_again().map_err(Stop::Final)?;
                self.total = length;
                // A weak tag does not promise the same bytes.
                let strong = text(ETAG).filter(|tag| tag.starts_with('"'));
                self.validator = strong.or_else(|| text(LAST_MODIFIED)).map(str::to_owned);
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = text(CONTENT_RANGE).and_then(range);
                let fits = |(start, total): &(u64, Option<u64>)| {
                    *start == self.at && (total.is_none() || self.total.is_none() || *total == self.total)
                };
                if self.at == 0 || !range.as_ref().is_some_and(fits) {
                    self.validator = None;
                    return Err(Stop::Cut(format!("{} answers with another part", host(url))));
                }
            }
            // What is there is not the file that was begun.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.validator = None;
                return Err(Stop::Cut(format!("{} answers {}", host(url), status.as_u16())));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Stop::Cut(format!("{} answers {}", host(url), status.as_u16())));
            }
            status if status.is_server_error() => {
                return Err(Stop::Cut(format!("{} answers {}", host(url), status.as_u16())));
            }
            status => {
                return Err(Stop::Final(FetchError::Status {
                    url: self.asked.clone(),
                    host: host(url),
                    status: status.as_u16(),
                }));
            }
        }
        self.check_room().map_err(Stop::Final)?;
        self.body(answer.into_body(), &host(url)).await
    }

    async fn body(&mut self, mut body: Incoming, host: &str) -> Result<(), Stop> {
        let patience = self.fetcher.rules.patience;
        let (mut end, mut since) = (Instant::now() + patience, self.at);
        loop {
            match timeout_at(end, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.add(&bytes).map_err(Stop::Final)?;
                    }
                }
                // All of it came, whatever its end was like.
                Ok(Some(Err(_))) if self.total == Some(self.at) => break,
                Ok(Some(Err(error))) => return Err(Stop::Cut(format!("{host}: {}", deepest(&error)))),
                Err(_) => {}
            }
            if Instant::now() >= end {
                let least = (SLOWEST * patience.as_millis() as u64 / 1000).max(1);
                if self.at - since < least {
                    return Err(Stop::Cut(format!("{host} sends next to nothing")));
                }
                (end, since) = (Instant::now() + patience, self.at);
            }
        }
        match self.total {
            Some(total) if self.at < total => Err(Stop::Cut(format!("{host} ended early"))),
            _ => Ok(()),
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let limit = self.fetcher.rules.most_bytes;
        if self.at + bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge { url: self.asked.clone(), limit });
        }
        let mut file = self.file;
        file.write_all(bytes).map_err(|error| self.unwritten(error))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        if self.at >= self.told + STEP {
            self.told = self.at;
            self.progress.step(self.at, self.total);
        }
        Ok(())
    }

    fn begin_again(&mut self) -> Result<(), FetchError> {
        let mut file = self.file;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(|error| self.unwritten(error))?;
        self.hasher = self.link.checksum().hasher();
        (self.at, self.told) = (0, 0);
        Ok(())
    }

    /// Refuses early what is said to be too large for the limit or the disk.
    fn check_room(&self) -> Result<(), FetchError> {
        let Some(total) = self.total else { return Ok(()) };
        let limit = self.fetcher.rules.most_bytes;
        if total > limit {
            return Err(FetchError::TooLarge { url: self.asked.clone(), limit });
        }
        let folder = self.to.parent().unwrap_or(self.to);
        match crate::fs::free_bytes(folder) {
            Ok(free) if free < total.saturating_sub(self.at) => Err(FetchError::NoSpace {
                url: self.asked.clone(),
                folder: folder.to_owned(),
                needed: format!("{total} bytes are needed, {free} free"),
            }),
            // Whether it fits is seen while it is written.
            _ => Ok(()),
        }
    }

    fn unwritten(&self, source: io::Error) -> FetchError {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return FetchError::NoSpace {
                url: self.asked.clone(),
                folder: self.to.parent().unwrap_or(self.to).to_owned(),
                needed: format!("{} bytes were written", self.at),
            };
        }
        FetchError::Write { path: self.to.to_owned(), source }
    }

    fn finish(self) -> Result<u64, FetchError> {
        let found = self.hasher.end();
        if found != *self.link.checksum() {
            return Err(FetchError::Mismatch {
                url: self.asked,
                algorithm: found.algorithm(),
                found: found.hex(),
            });
        }
        self.progress.step(self.at, Some(self.at));
        Ok(self.at)
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// `bytes 10-99/100`: from where, of how many.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-')?.0.parse().ok()?;
    if total == "*" { Some((start, None)) } else { Some((start, Some(total.parse().ok()?))) }
}

/// The error that caused the others.
fn deepest(error: &hyper::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("bytes 10-99/100"), Some((10, Some(100))));
        assert_eq!(range("bytes 10-99/*"), Some((10, None)));
        for bad in ["", "bytes */100", "bytes 10/100", "items 1-2/3", "bytes -1-2/3", "bytes 1-2/x"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
