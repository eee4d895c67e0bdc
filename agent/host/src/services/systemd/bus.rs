//! systemd over D-Bus: its manager's methods, a unit's properties, and the signals that tell of changes.
//!
//! Owns the connection, which is made anew when it breaks (the bus or systemd itself is started again). It must not
//! know what a service is. Signals are hints: whoever waits looks again by itself now and then.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore, broadcast};
use tokio::time::timeout;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, Type};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Where the objects of units are.
const UNITS: &str = "/org/freedesktop/systemd1/unit/";
/// How long systemd may take to answer; reading all its units again on a busy host takes longest.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often whoever waits looks by itself.
const LOOK: Duration = Duration::from_secs(3);
/// How many questions wait for their answers at the same time: the bus refuses more than 128 of one connection, and
/// each service is looked at by a worker of its own.
const AT_ONCE: usize = 32;
/// How long to wait before the next attempt to connect.
const AGAIN: Duration = Duration::from_secs(1);

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The bus does not answer, or refuses.
    #[error("cannot ask systemd for `{method}`")]
    Call {
        /// What was asked.
        method: String,
        /// Why.
        #[source]
        source: Box<zbus::Error>,
    },
    /// No answer in time.
    #[error("cannot ask systemd for `{0}`: no answer")]
    Silent(String),
}

/// Something that systemd told.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A unit changed.
    Unit(String),
    /// A job ended so: `done`, `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
    Job(String, String),
    /// Signals may have been missed: look at everything.
    Missed,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// `active`, `inactive`, `activating`, …; empty where it is not loaded.
    pub active: String,
    /// The state in the words of its type.
    pub sub: String,
    /// How its last run ended: `success`, `exit-code`, `start-limit-hit`, ….
    pub result: String,
    /// The main process; 0 where there is none.
    pub pid: u32,
    /// When that was started, in microseconds since 1970.
    pub started_us: u64,
    /// How often systemd started it again by itself.
    pub restarts: u32,
    /// Its control group's path.
    pub group: String,
    /// The id of its run, in hex.
    pub invocation: String,
}

/// The way to systemd.
pub(super) struct Bus {
    connection: Mutex<Option<Connection>>,
    events: broadcast::Sender<Event>,
    asking: Semaphore,
    /// Reloads that were asked for, and up to which of them one has been done.
    reloads: AtomicU64,
    reloaded: Mutex<u64>,
}

impl Bus {
    /// Connects, and follows systemd's signals for as long as the result is held.
    pub(super) async fn open() -> Result<Arc<Self>, BusError> {
        let bus = Arc::new(Self {
            connection: Mutex::default(),
            events: broadcast::channel(1024).0,
            asking: Semaphore::new(AT_ONCE),
            reloads: AtomicU64::new(0),
            reloaded: Mutex::new(0),
        });
        // With the first stream there before anything is asked.
        let stream = bus.listen().await?;
        tokio::spawn(follow(Arc::downgrade(&bus), stream));
        Ok(bus)
    }

    /// What systemd tells from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// systemd's version.
    pub(super) async fn version(&self) -> Result<u32, BusError> {
        let text: String = self.property(PATH, MANAGER, "Version").await?;
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        Ok(digits.parse().unwrap_or(0))
    }

    /// What systemd says of a unit; all empty where it does not have it in memory.
    pub(super) async fn look(&self, unit: &str) -> Result<Seen, BusError> {
        let Some(path) = self.path(unit).await? else { return Ok(Seen::default()) };
        // Asked together: the answers come in one go. systemd gives all of a unit's properties only with those that it
        // has to count first.
        let (active, sub, result, restarts) = tokio::try_join!(
            self.property(&path, UNIT, "ActiveState"),
            self.property(&path, UNIT, "SubState"),
            self.property(&path, SERVICE, "Result"),
            self.property(&path, SERVICE, "NRestarts"),
        )?;
        let mut seen = Seen { active, sub, result, restarts, ..Seen::default() };
        if seen.has_processes() {
            let id: Vec<u8>;
            (seen.pid, seen.started_us, seen.group, id) = tokio::try_join!(
                self.property(&path, SERVICE, "MainPID"),
                self.property(&path, SERVICE, "ExecMainStartTimestamp"),
                self.property(&path, SERVICE, "ControlGroup"),
                self.property(&path, UNIT, "InvocationID"),
            )?;
            seen.invocation = hex::encode(id);
        }
        Ok(seen)
    }

    /// Reads the unit's file where systemd has none or an older one, and says why it cannot be used, if so.
    pub(super) async fn load(&self, unit: &str) -> Result<Result<(), String>, BusError> {
        let path: OwnedObjectPath = self.manager("LoadUnit", &unit).await?;
        let state = || async {
            let old: bool = self.property(path.as_str(), UNIT, "NeedDaemonReload").await?;
            let state: String = self.property(path.as_str(), UNIT, "LoadState").await?;
            Ok::<_, BusError>((old, state))
        };
        let (old, loaded) = state().await?;
        if !old && loaded == "loaded" {
            return Ok(Ok(()));
        }
        self.reload().await?;
        let loaded: OwnedObjectPath = self.manager("LoadUnit", &unit).await?;
        debug_assert_eq!(loaded, path, "a unit's path is made of its name");
        match state().await?.1.as_str() {
            "loaded" => Ok(Ok(())),
            other => Ok(Err(format!("systemd finds its unit `{other}`"))),
        }
    }

    /// Has systemd read all unit files again: once for all that ask while it does.
    async fn reload(&self) -> Result<(), BusError> {
        let asked = self.reloads.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.reloaded.lock().await;
        if *done >= asked {
            return Ok(());
        }
        let covers = self.reloads.load(Ordering::SeqCst);
        self.manager::<_, ()>("Reload", &()).await?;
        *done = covers;
        Ok(())
    }

    /// Starts the unit and waits for the job's end: its result, or nothing where that was missed.
    pub(super) async fn start(&self, unit: &str) -> Result<String, BusError> {
        self.job("StartUnit", unit).await
    }

    /// Stops the unit and waits for the job's end. One that is not loaded is stopped.
    pub(super) async fn stop(&self, unit: &str) -> Result<(), BusError> {
        match self.job("StopUnit", unit).await {
            Err(error) if error.says("NoSuchUnit") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn job(&self, method: &str, unit: &str) -> Result<String, BusError> {
        // Subscribed before the job is there, so that its end is not missed.
        let mut events = self.events();
        let job: OwnedObjectPath = self.manager(method, &(unit, "replace")).await?;
        loop {
            match timeout(LOOK, events.recv()).await {
                Ok(Ok(Event::Job(path, result))) if path == job.as_str() => return Ok(result),
                Ok(Ok(Event::Job(..) | Event::Unit(_))) => continue,
                // Nothing for a while, or too much at once: is it still there?
                _ => {}
            }
            let state: Result<String, _> =
                self.property(job.as_str(), "org.freedesktop.systemd1.Job", "State").await;
            if state.is_err_and(|error| error.says("UnknownObject") || error.says("NoSuchJob")) {
                return Ok(String::new());
            }
        }
    }

    /// Lets systemd forget that the unit failed, and how often it was started.
    pub(super) async fn reset(&self, unit: &str) -> Result<(), BusError> {
        match self.manager("ResetFailedUnit", &unit).await {
            Err(error) if error.says("NoSuchUnit") => Ok(()),
            other => other,
        }
    }

    async fn path(&self, unit: &str) -> Result<Option<String>, BusError> {
        match self.manager::<_, OwnedObjectPath>("GetUnit", &unit).await {
            Ok(path) => Ok(Some(path.as_str().to_owned())),
            Err(error) if error.says("NoSuchUnit") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn property<T>(&self, path: &str, of: &str, name: &str) -> Result<T, BusError>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let value: OwnedVariant = self.call(path, PROPERTIES, "Get", &(of, name)).await?;
        T::try_from(value)
            .map_err(|error| BusError::Call { method: name.to_owned(), source: Box::new(error.into()) })
    }

    async fn manager<B, T>(&self, method: &str, body: &B) -> Result<T, BusError>
    where
        B: Serialize + Type + Sync,
        T: DeserializeOwned + Type,
    {
        self.call(PATH, MANAGER, method, body).await
    }

    /// One call; where the connection turns out to be broken, once more over a new one. All that is asked here may be
    /// asked twice.
    async fn call<B, T>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<T, BusError>
    where
        B: Serialize + Type + Sync,
        T: DeserializeOwned + Type,
    {
        let failed =
            |error: zbus::Error| BusError::Call { method: method.to_owned(), source: Box::new(error) };
        // Never closed.
        let _turn = self.asking.acquire().await.ok();
        let mut again = true;
        loop {
            let connection = self.connection().await?;
            let asked = connection.call_method(Some(NAME), path, Some(interface), method, body);
            let answer = timeout(PATIENCE, asked).await.map_err(|_| BusError::Silent(method.to_owned()))?;
            match answer.map_err(failed) {
                Ok(answer) => {
                    let body = answer.body();
                    return body.deserialize().map_err(failed);
                }
                Err(error) if again && error.is_broken() => {
                    again = false;
                    self.forget_connection(&connection).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connection(&self) -> Result<Connection, BusError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let made = timeout(PATIENCE, Connection::system()).await;
        let made = made.map_err(|_| BusError::Silent("a connection".into()))?;
        let made = made
            .map_err(|source| BusError::Call { method: "a connection".into(), source: Box::new(source) })?;
        *slot = Some(made.clone());
        Ok(made)
    }

    async fn forget_connection(&self, broken: &Connection) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|held| held.unique_name() == broken.unique_name()) {
            *slot = None;
        }
    }

    /// A stream of what systemd tells, on the connection that there is now.
    async fn listen(&self) -> Result<(MessageStream, Connection), BusError> {
        let failed = |source| BusError::Call { method: "Subscribe".into(), source: Box::new(source) };
        let connection = self.connection().await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(NAME)
            .path_namespace(PATH)
            .build()
            .map_err(failed)?;
        let stream =
            MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(256)).await.map_err(failed)?;
        match self.manager::<_, ()>("Subscribe", &()).await {
            Err(error) if !error.says("AlreadySubscribed") => Err(error),
            _ => Ok((stream, connection)),
        }
    }
}

/// Hands on what systemd tells; when the connection breaks, goes on with a new one.
async fn follow(bus: std::sync::Weak<Bus>, first: (MessageStream, Connection)) {
    let mut current = Some(first);
    loop {
        if let Some((mut stream, connection)) = current.take() {
            while let Some(Ok(message)) = stream.next().await {
                let Some(bus) = bus.upgrade() else { return };
                if let Some(event) = event(&message) {
                    // Nobody may be waiting.
                    let _ = bus.events.send(event);
                }
            }
            let Some(bus) = bus.upgrade() else { return };
            tracing::warn!("the connection to systemd is gone; makes a new one");
            bus.forget_connection(&connection).await;
        }
        tokio::time::sleep(AGAIN).await;
        let Some(bus) = bus.upgrade() else { return };
        match bus.listen().await {
            Ok(stream) => {
                current = Some(stream);
                let _ = bus.events.send(Event::Missed);
            }
            Err(error) => tracing::debug!(%error, "cannot connect to systemd yet"),
        }
    }
}

fn event(message: &Message) -> Option<Event> {
    let header = message.header();
    match header.member()?.as_str() {
        "PropertiesChanged" => Some(Event::Unit(unit_of(header.path()?.as_str())?)),
        "JobRemoved" => {
            let body = message.body();
            let (_, job, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
            unit.starts_with("stoker-").then(|| Event::Job(job.as_str().to_owned(), result))
        }
        _ => None,
    }
}

/// The unit behind an object's path, where it may be one of ours: `_2d` stands for `-`.
fn unit_of(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS)?;
    let mut bytes = Vec::new();
    let mut rest = label.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        if *first == b'_' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(more.get(..2)?).ok()?, 16).ok()?);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok().filter(|unit| unit.starts_with("stoker-"))
}

impl Seen {
    /// Whether processes of it may be there.
    pub(super) fn has_processes(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing" | "deactivating" | "activating")
            && !self.waits()
    }

    /// Whether systemd will start it again in a moment.
    pub(super) fn waits(&self) -> bool {
        self.active == "activating" && self.sub.starts_with("auto-restart")
    }
}

impl BusError {
    /// Whether it is systemd's error of that name.
    fn says(&self, name: &str) -> bool {
        let Self::Call { source, .. } = self else { return false };
        matches!(&**source, zbus::Error::MethodError(said, ..) if said.as_str().ends_with(&format!(".{name}")))
    }

    /// Whether the connection is no longer of use.
    fn is_broken(&self) -> bool {
        matches!(self, Self::Call { source, .. } if matches!(&**source, zbus::Error::InputOutput(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_of_units() {
        let of = |label: &str| unit_of(&format!("{UNITS}{label}"));
        assert_eq!(
            of("stoker_2ddefault_2da_2d0_2dt_2ex_2eservice").as_deref(),
            Some("stoker-default-a-0-t.x.service")
        );
        assert_eq!(of("stoker_2eservice"), None, "the agent itself");
        assert_eq!(of("ssh_2eservice"), None);
        assert_eq!(of("stoker_2"), None);
        assert_eq!(unit_of("/org/freedesktop/systemd1"), None);
    }

    #[test]
    fn states_have_processes_or_not() {
        let seen = |active: &str, sub: &str, result: &str| Seen {
            active: active.into(),
            sub: sub.into(),
            result: result.into(),
            ..Seen::default()
        };
        assert!(seen("active", "running", "success").has_processes());
        assert!(seen("deactivating", "stop-sigterm", "success").has_processes());
        assert!(!seen("activating", "auto-restart", "exit-code").has_processes());
        assert!(seen("activating", "auto-restart-queued", "exit-code").waits());
        assert!(!seen("failed", "failed", "exit-code").has_processes() && !Seen::default().has_processes());
    }
}
