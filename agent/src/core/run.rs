//! The daemon: opens everything in order, serves, keeps a worker at each unit of this host, and ends in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use stoker_host::builds::{Builds, Limits};
use stoker_host::claims::Claims;
use stoker_host::fs::failpoint::hit;
use stoker_host::services::{ShimSupervisor, Supervisor, SystemdSupervisor, apart, systemd};
use stoker_host::{exec, facts, notify, users};
use stoker_model::ids::UnitId;
use stoker_model::keys::Key;
use stoker_model::observation::Host;
use stoker_model::record::{FORMAT, Model};
use stoker_store::{Embedded, Journal, Store, Txn};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::charms::CHARM_USER;
use super::mirror;
use super::seal::Sealer;
use super::seen::Seen;
use super::{Core, MODEL, lock};
use crate::api::caller::Caller;
use crate::hooks::{AGENT_MARK, Hooks};
use crate::problem::{Problem, chain, codes};
use crate::settings::log::LevelHandle;
use crate::settings::{Paths, Settings};

/// How often the host's facts are read again while a unit is blocked, and otherwise.
const LOOK_SOON: Duration = Duration::from_secs(5);
const LOOK_SELDOM: Duration = Duration::from_mins(10);

/// Runs the agent until it is told to end; true where that was with all services.
pub(crate) async fn run(paths: Paths, settings: Settings, level: LevelHandle) -> Result<bool, Problem> {
    // Held for life: a second agent on the same folder is refused before it touches anything.
    let _lock = take_lock(&paths)?;
    hit("agent.start.locked");
    let core = Arc::new(open(paths, settings).await?);
    hit("agent.start.opened");
    let listener = crate::api::server::bind(&core.paths, core.settings().others_look)?;
    let shutdown = CancellationToken::new();
    let socket = core.paths.socket.clone();
    let server =
        tokio::spawn(crate::api::server::serve(listener, socket, Arc::clone(&core), shutdown.clone()));
    let settings_watch = {
        let core = Arc::clone(&core);
        let current = Settings::clone(&core.settings());
        crate::settings::watch::spawn(&core.paths.clone(), current, move |settings| {
            level.set(settings.log_level);
            core.set_settings(settings.clone());
        })
    };
    let keeper = tokio::spawn(keep_workers(Arc::clone(&core)));
    let hearing = tokio::spawn(hear_services(Arc::clone(&core)));
    let looking = tokio::spawn(look_at_host(Arc::clone(&core)));
    let rolling = tokio::spawn(crate::duty::rollout::keep(Arc::clone(&core)));
    let closing = tokio::spawn(super::firewall::keep(Arc::clone(&core)));
    let alive = tokio::spawn(tell_alive());
    notify::tell(notify::READY);
    hit("agent.start.up");
    core.audit.note(
        &Caller::agent(),
        concat!("the agent started, version ", env!("CARGO_PKG_VERSION")),
        None,
    );
    tracing::info!(dir = %core.paths.root.display(), pid = std::process::id(), "the agent is up");

    wait_for_end(&core).await;
    let down = *core.rested.borrow();
    hit("agent.stop.begun");
    notify::tell(notify::STOPPING);
    tracing::info!("the agent ends; services go on");
    core.rest.send_replace(true);
    core.stop.send_replace(true);
    shutdown.cancel();
    settings_watch.abort();
    hearing.abort();
    looking.abort();
    closing.abort();
    let _ = rolling.await;
    let _ = server.await;
    let _ = keeper.await;
    core.audit.note(&Caller::agent(), "the agent ended; services go on", None);
    core.audit.flush().await;
    alive.abort();
    Ok(down)
}

/// Tells the service manager that this process still does something, as often as that wants to hear it.
async fn tell_alive() {
    let Some(every) = notify::watchdog() else { return };
    loop {
        notify::tell(notify::ALIVE);
        tokio::time::sleep(every).await;
    }
}

/// Locks the file. A child that an agent was just starting when it was killed holds its lock for a moment more: where
/// the holder's process is gone, that moment is waited for.
fn lock_soon(file: &File, path: &Path) -> Result<(), std::fs::TryLockError> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    loop {
        let locked = file.try_lock();
        let holder = std::fs::read_to_string(path).unwrap_or_default();
        let gone = !holder.trim().is_empty() && !Path::new("/proc").join(holder.trim()).exists();
        if locked.is_ok() || !gone || std::time::Instant::now() > end {
            return locked;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn take_lock(paths: &Paths) -> Result<File, Problem> {
    let wrong = |e: std::io::Error| {
        Problem::new(codes::FOLDER, format!("cannot use `{}`: {e}", paths.lock.display()))
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(&paths.lock)
        .map_err(wrong)?;
    match lock_soon(&file, &paths.lock) {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let title = format!("cannot start on `{}`: another agent runs there", paths.root.display());
            let holder = std::fs::read_to_string(&paths.lock).unwrap_or_default();
            let mut problem = Problem::new(codes::ALREADY_RUNS, title);
            if !holder.trim().is_empty() {
                problem = problem.evidence(format!("process {}", holder.trim()));
            }
            return Err(problem.fix("use another --dir, or end the other agent: stoker down"));
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(wrong(error)),
    }
    use std::io::Write as _;
    file.set_len(0).map_err(wrong)?;
    (&file).write_all(std::process::id().to_string().as_bytes()).map_err(wrong)?;
    Ok(file)
}

fn database(path: &Path) -> impl Fn(stoker_store::StoreError) -> Problem + '_ {
    move |error| {
        Problem::new(codes::DATABASE, format!("cannot open `{}`", path.display()))
            .evidence(chain(&error))
            .fix("put a backup in its place, or install the version of stoker that wrote it")
    }
}

async fn open(paths: Paths, settings: Settings) -> Result<Core, Problem> {
    let journal = Journal::open(&paths.journal).map_err(database(&paths.journal))?;
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&paths.store).map_err(database(&paths.store))?);
    ensure_model(store.as_ref(), &paths.store).await?;
    let limits =
        Limits { entries: settings.limits.entries, bytes: settings.limits.bytes, ..Limits::default() };
    // What recipes that ended with an earlier agent had made so far.
    let making = paths.cache.join("making");
    exec::end_strays(AGENT_MARK, &paths.root.display().to_string());
    let builds = Builds::open(&paths.builds)
        .map_err(|e| Problem::new(codes::FOLDER, "cannot open the builds").evidence(chain(&e)))?
        .with_limits(limits);
    Core::mend_lost(&builds).map_err(|e| Problem::internal("cannot repair what an unclean stop left", &e))?;
    let user = if users::can_switch() {
        let account = users::ensure_system_user(CHARM_USER, Path::new("/nonexistent"))
            .await
            .map_err(|e| Problem::internal(format!("cannot make the system user `{CHARM_USER}`"), &e))?;
        Some((CHARM_USER.to_owned(), account))
    } else {
        None
    };
    let shim = exec::shim_beside_me();
    if !shim.exists() {
        let title = format!("cannot start: `{}` is missing", shim.display());
        return Err(Problem::new(codes::INTERNAL, title)
            .fix("install stoker whole: stoker, stoker-shim and stoker-hook go together"));
    }
    let hooks = Hooks::start(&paths.run, &paths.root, shim.clone(), user)
        .map_err(|e| Problem::new(codes::FOLDER, format!("cannot use `{}`: {e}", paths.run.display())))?;
    let supervisor = supervisor(&paths, &settings, &shim).await?;
    if let Err(error) = apart::end_apart(supervisor.as_ref()).await {
        tracing::warn!(error = %chain(&error), "cannot stop what an earlier agent ran apart");
    }
    if let Err(error) = stoker_host::fs::remove_tree(&making) {
        tracing::warn!(%error, folder = %making.display(), "cannot remove what a recipe left");
    }
    let sealer = Sealer::open(&paths.key).map_err(|e| Problem::new(codes::FOLDER, chain(&e)))?;
    let host = host_facts(&paths, &settings).await;
    let snapshot = mirror::read(store.as_ref()).await.map_err(|e| {
        Problem::new(codes::DATABASE, format!("cannot read the model in `{}`", paths.store.display()))
            .evidence(chain(&e))
    })?;
    super::kept::tidy(&paths.kept, &snapshot)
        .map_err(|e| Problem::new(codes::FOLDER, format!("cannot use `{}`: {e}", paths.kept.display())))?;
    let mirror = watch::Sender::new(Arc::new(snapshot));
    tokio::spawn(mirror::follow(Arc::clone(&store), mirror.clone()));
    let audit = Audit::start(&paths.events);
    let firewall = super::firewall::Firewall::new(&paths);
    Ok(Core {
        paths,
        settings: RwLock::new(Arc::new(settings)),
        store,
        journal,
        builds: Arc::new(builds),
        supervisor,
        apart: Notify::new(),
        hooks,
        audit,
        started: super::now(),
        sealer,
        host: RwLock::new(Arc::new(host)),
        mirror,
        seen: Seen::default(),
        workers: Mutex::new(BTreeMap::new()),
        ports: Mutex::new(BTreeMap::new()),
        choosing: std::sync::Mutex::default(),
        claims: Claims::default(),
        firewall,
        revisions: Mutex::new(BTreeMap::new()),
        writing: tokio::sync::Mutex::new(()),
        rest: watch::Sender::new(false),
        rested: watch::Sender::new(false),
        stop: watch::Sender::new(false),
    })
}

/// What keeps this agent's services. One kind never starts what the other still has.
async fn supervisor(paths: &Paths, settings: &Settings, shim: &Path) -> Result<Arc<dyn Supervisor>, Problem> {
    let failed =
        |e: stoker_host::services::ServiceError| Problem::internal("cannot open the services' records", &e);
    let booted = systemd::is_booted() && nix::unistd::geteuid().is_root();
    if settings.by_systemd(paths, booted) {
        if !booted {
            let title = "cannot keep services by systemd: it is not PID 1 here, or this is not root";
            return Err(Problem::new(codes::SETTINGS, title).fix("supervisor = \"process\" in stoker.toml"));
        }
        return Ok(Arc::new(SystemdSupervisor::new(&paths.services, shim).await.map_err(failed)?));
    }
    let units = systemd::units_of(&paths.services).unwrap_or_default();
    if let Some(unit) = units.first() {
        let title = "cannot keep services by shims: units of systemd are there for them";
        return Err(Problem::new(codes::SETTINGS, title)
            .evidence(format!("{unit} and {} others", units.len() - 1))
            .fix("supervisor = \"systemd\" in stoker.toml, or remove the applications under it first"));
    }
    Ok(Arc::new(ShimSupervisor::new(&paths.services, shim).map_err(failed)?))
}

async fn ensure_model(store: &dyn Store, path: &Path) -> Result<(), Problem> {
    let key = Core::key(&Key::Model);
    if let Some(entry) = store.get(&key).await.map_err(database(path))? {
        let unreadable = |e: serde_json::Error| {
            Problem::new(codes::DATABASE, format!("cannot read the model in `{}`", path.display()))
                .evidence(e.to_string())
        };
        let model: serde_json::Value = serde_json::from_slice(&entry.value).map_err(unreadable)?;
        let format = model.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if format > u64::from(FORMAT) {
            let title = format!(
                "cannot use the model in `{}`: its format is {format}, this stoker knows {FORMAT}",
                path.display()
            );
            return Err(Problem::new(codes::DATABASE, title).fix("install the newer stoker that wrote it"));
        }
        return Ok(());
    }
    let model = Model {
        format: FORMAT,
        name: MODEL.to_owned(),
        uuid: super::random_id(16)?,
        changes: 0,
        relations: 0,
        actions: 0,
    };
    let bytes = serde_json::to_vec(&model).map_err(|e| Problem::internal("cannot write the model", &e))?;
    hit("agent.start.before-model");
    let _ = store.commit(Txn::new().absent(key.clone()).put(key, bytes)).await.map_err(database(path))?;
    hit("agent.start.model-made");
    Ok(())
}

async fn host_facts(paths: &Paths, settings: &Settings) -> Host {
    let found = facts::gather().await;
    let mut addresses = found.addresses;
    addresses.insert("default".into(), settings.bind_address(paths).to_string());
    Host {
        name: settings.host(),
        arch: found.arch,
        cores: found.cores,
        memory: found.memory,
        grant: stoker_model::observation::Grant::default(),
        addresses,
        java: found.java,
        python: found.python,
    }
}

async fn wait_for_end(core: &Core) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut stop = core.stop.subscribe();
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        let _ = stop.wait_for(|stop| *stop).await;
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Keeps a worker at each unit of this host, also at those that only the journal still knows.
async fn keep_workers(core: Arc<Core>) {
    let mut follow = core.follow();
    let mut rest = core.rest.subscribe();
    let mut tasks: BTreeMap<UnitId, JoinHandle<()>> = BTreeMap::new();
    let known = core.journal.range(&format!("unit/{MODEL}/")).unwrap_or_default();
    let mut wanted: Vec<UnitId> =
        known.iter().filter_map(|(key, _)| UnitId::from_dashed(key.rsplit('/').next()?).ok()).collect();
    drop_strangers(&core, &wanted).await;
    loop {
        follow.mark_unchanged();
        wanted.extend(core.snapshot().units.keys().cloned());
        tasks.retain(|_, task| !task.is_finished());
        for unit in wanted.drain(..) {
            if !tasks.contains_key(&unit) {
                let wake = Arc::new(Notify::new());
                lock(&core.workers).insert(unit.clone(), Arc::clone(&wake));
                tasks.insert(unit.clone(), crate::unit::spawn(Arc::clone(&core), unit, wake));
            }
        }
        tokio::select! {
            changed = follow.changed() => if changed.is_err() { break },
            _ = rest.wait_for(|rest| *rest) => break,
        }
    }
    // Each finishes the step in hand.
    for worker in tasks.into_values() {
        let _ = worker.await;
    }
    core.rested.send_replace(true);
}

/// Services under our names whose unit neither the model nor the journal knows: stopped.
async fn drop_strangers(core: &Core, known: &[UnitId]) {
    let snapshot = core.snapshot();
    let names = match core.supervisor.names("") {
        Ok(names) => names,
        Err(error) => return tracing::error!(error = %chain(&error), "cannot list services"),
    };
    // Those that an earlier agent ran apart were ended before this one served.
    for name in names.into_iter().filter(|name| !name.starts_with(apart::PREFIX)) {
        let unit = crate::unit::split_name(&name).map(|(unit, _)| unit);
        if unit.is_none_or(|unit| !snapshot.units.contains_key(&unit) && !known.contains(&unit)) {
            tracing::warn!(service = name, "stops what belongs to no unit");
            if let Err(error) = core.supervisor.forget(&name).await {
                tracing::error!(error = %chain(&error), "cannot stop it");
            }
        }
    }
}

/// Reads the host's facts again: seldom, but soon while a unit is blocked, since what it waits for may have just been
/// installed.
async fn look_at_host(core: Arc<Core>) {
    use stoker_model::status::State;
    let mut follow = core.follow();
    loop {
        let blocked =
            follow.borrow_and_update().reports.values().any(|report| report.status.state == State::Blocked);
        let wait = if blocked { LOOK_SOON } else { LOOK_SELDOM };
        let changed = follow.wait_for(|snapshot| {
            !blocked && snapshot.reports.values().any(|report| report.status.state == State::Blocked)
        });
        if tokio::time::timeout(wait, changed).await.is_ok() {
            continue;
        }
        let host = host_facts(&core.paths, &core.settings()).await;
        core.set_host(host);
    }
}

/// Wakes a unit when one of its services changes.
async fn hear_services(core: Arc<Core>) {
    loop {
        let name = core.supervisor.changed().await;
        if name.starts_with(apart::PREFIX) {
            core.apart.notify_waiters();
        }
        if let Some((unit, _)) = crate::unit::split_name(&name) {
            core.wake(&unit);
        }
    }
}

impl Core {
    /// A unit's worker has ended since the unit is gone.
    pub(crate) fn gone(&self, unit: &UnitId) {
        lock(&self.workers).remove(unit);
        self.seen.forget(unit);
    }

    /// The turn to write: verbs are checked and committed one at a time, and so are removed units.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Stops every service of this host, then ends the agent. Nothing is removed. Workers rest first, so that none
    /// starts again what is stopped here.
    pub(crate) async fn down(&self) -> Result<(), Problem> {
        self.rest.send_replace(true);
        let _ = self.rested.subscribe().wait_for(|rested| *rested).await;
        let failed = |e: stoker_host::services::ServiceError| Problem::internal("cannot stop a service", &e);
        let names = self.supervisor.names("").map_err(failed)?;
        let stops = names.iter().map(|name| self.supervisor.stop(name));
        let stopped = futures_util::future::join_all(stops).await;
        self.stop.send_replace(true);
        stopped.into_iter().collect::<Result<(), _>>().map_err(failed)
    }
}
