//! `kernel-launch`: gives a PySpark kernel ports of its own and becomes the kernel. Owns which set of ports a kernel
//! gets: set N of a range is its numbers 3N, 3N+1, 3N+2 for the driver, its block manager and its web page, held by
//! a lock on the file `slot-N` for as long as the kernel's process lives. It must not start anything beside the
//! kernel: Jupyter signals this process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::execve;

use crate::url::TOKEN;

/// Ports of one kernel.
pub(crate) const SET: u16 = 3;
/// What Spark reads its driver's options from.
const SUBMIT: &str = "PYSPARK_SUBMIT_ARGS";

/// What is asked for on the command line.
#[derive(Debug, Default)]
struct Asked {
    slots: PathBuf,
    address: String,
    first: u16,
    count: u16,
    spark: PathBuf,
    key: String,
    kernel: Vec<String>,
}

/// `kernel-launch --slots DIR --address ADDRESS --first PORT --count SETS --spark TREE [--key KEY] -- PROGRAM
/// [ARGUMENT]...`; KEY names what the kernel's driver is of, for [`holds`].
pub(crate) fn main(args: &[String]) -> Result<ExitCode> {
    let asked = parse(args)?;
    let (slot, lock) = take(&asked)?;
    // The lock goes with the process through exec; children that Python starts do not get it.
    fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot keep the lock on the ports")?;
    let env = environment(&asked, slot, std::env::vars_os().collect())?;
    let text =
        |bytes: Vec<u8>| CString::new(bytes).context("cannot start the kernel: a text has a zero byte");
    let program = asked.kernel.first().context("cannot start the kernel: no program is named")?;
    let command: Vec<CString> =
        asked.kernel.iter().map(|arg| text(arg.clone().into_bytes())).collect::<Result<_>>()?;
    let env: Vec<CString> = env
        .into_iter()
        .map(|(key, value)| text([key.into_vec(), b"=".to_vec(), value.into_vec()].concat()))
        .collect::<Result<_>>()?;
    let Err(why) = execve(&text(program.clone().into_bytes())?, &command, &env);
    Err(why).with_context(|| format!("cannot start the kernel `{program}`"))
}

fn parse(args: &[String]) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut rest = args.iter();
    while let Some(key) = rest.next() {
        if key == "--" {
            asked.kernel = rest.cloned().collect();
            break;
        }
        let value = rest.next().with_context(|| format!("`{key}` has no value"))?;
        let number = || value.parse::<u16>().with_context(|| format!("{key}: `{value}` is no port number"));
        match key.as_str() {
            "--slots" => asked.slots = value.into(),
            "--address" => asked.address.clone_from(value),
            "--first" => asked.first = number()?,
            "--count" => asked.count = number()?,
            "--spark" => asked.spark = value.into(),
            "--key" => asked.key.clone_from(value),
            _ => bail!("unknown option `{key}`"),
        }
    }
    if asked.kernel.is_empty() || asked.count == 0 || asked.address.is_empty() {
        bail!(
            "usage: kernel-launch --slots DIR --address ADDRESS --first PORT --count SETS --spark TREE -- PROGRAM..."
        );
    }
    Ok(asked)
}

/// Takes the first set that no kernel holds and nothing listens on. A driver may outlive its kernel for a moment.
fn take(asked: &Asked) -> Result<(u16, File)> {
    fs::create_dir_all(&asked.slots).with_context(|| format!("cannot make `{}`", asked.slots.display()))?;
    for slot in 0..asked.count {
        let path = asked.slots.join(format!("slot-{slot}"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => continue,
            Err(fs::TryLockError::Error(why)) => {
                return Err(why).with_context(|| format!("cannot lock `{}`", path.display()));
            }
        }
        if !ports(asked, slot)
            .into_iter()
            .all(|port| TcpListener::bind((asked.address.as_str(), port)).is_ok())
        {
            continue;
        }
        // Whose it is, for people, and what it holds; that it is taken is the lock's to say.
        file.set_len(0).and_then(|()| writeln!(file, "{}\n{}", std::process::id(), asked.key)).ok();
        return Ok((slot, file));
    }
    bail!(
        "cannot start another PySpark kernel: all {} sets of driver ports are in use; shut a kernel down, or raise \
         the option max-kernels",
        asked.count
    )
}

/// `holds DIR`: prints the keys of the kernels that live, as JSON `{"holds": [KEY...]}`.
pub(crate) fn holds(args: &[String]) -> Result<ExitCode> {
    let [folder] = args else { bail!("usage: holds DIR") };
    let mut out = std::io::stdout().lock();
    let result = serde_json::json!({"holds": held(Path::new(folder))?});
    writeln!(out, "{result}").and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn held(folder: &Path) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // No kernel was ever started.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(keys),
        Err(why) => return Err(why).with_context(|| format!("cannot read `{}`", folder.display())),
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let file = File::open(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
        // Shared, so that two that ask do not take each other for kernels.
        if matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            keys.extend(text.lines().nth(1).filter(|key| !key.is_empty()).map(str::to_owned));
        }
    }
    Ok(keys)
}

fn ports(asked: &Asked, slot: u16) -> [u16; SET as usize] {
    let first = asked.first.saturating_add(slot.saturating_mul(SET));
    [first, first.saturating_add(1), first.saturating_add(2)]
}

type Environment = BTreeMap<std::ffi::OsString, std::ffi::OsString>;

/// The kernel's environment: PySpark of the Spark tree first, and the driver's ports.
fn environment(asked: &Asked, slot: u16, mut env: Environment) -> Result<Environment> {
    let mut path = asked.spark.join("python").into_os_string();
    path.push(":");
    path.push(py4j(&asked.spark.join("python/lib"))?);
    if let Some(more) = env.get("PYTHONPATH".as_ref() as &std::ffi::OsStr).filter(|more| !more.is_empty()) {
        path.push(":");
        path.push(more);
    }
    env.insert("PYTHONPATH".into(), path);
    let [driver, blocks, page] = ports(asked, slot);
    let more = match env.get(SUBMIT.as_ref() as &std::ffi::OsStr).and_then(|more| more.to_str()) {
        Some(more) => more.trim().trim_end_matches("pyspark-shell").trim().to_owned(),
        None => String::new(),
    };
    let submit = format!(
        "--conf spark.driver.port={driver} --conf spark.driver.blockManager.port={blocks} \
         --conf spark.ui.port={page} {more} pyspark-shell"
    );
    env.insert(SUBMIT.into(), submit.into());
    // The server's, and of no use to a notebook.
    env.remove(TOKEN.as_ref() as &std::ffi::OsStr);
    Ok(env)
}

/// The bridge between Python and Java that comes with the Spark tree; its name has a version.
fn py4j(lib: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(lib).with_context(|| format!("cannot read `{}`", lib.display()))?;
    let named = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("py4j-") && name.ends_with("-src.zip"))
    };
    let found = entries.flatten().map(|entry| entry.path()).filter(named).max();
    found.with_context(|| format!("cannot find `py4j-*-src.zip` in `{}`", lib.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each test has an address of its own, where nobody else listens: ports that were found free by trying are not
    /// free for long.
    fn asked(address: &str, slots: &Path, first: u16, count: u16) -> Asked {
        let args =
            ["--slots", &slots.display().to_string(), "--address", address, "--first"].map(String::from);
        let rest = [
            &first.to_string(),
            "--count",
            &count.to_string(),
            "--spark",
            "/s",
            "--key",
            "k",
            "--",
            "/bin/true",
            "-f",
        ];
        let args: Vec<String> = args.into_iter().chain(rest.map(String::from)).collect();
        parse(&args).unwrap()
    }

    #[test]
    fn arguments() {
        let got = asked("127.9.0.1", Path::new("/slots"), 25_000, 2);
        assert_eq!((got.first, got.count, got.kernel.len()), (25_000, 2, 2));
        for bad in [
            vec!["--first"],
            vec!["--first", "x"],
            vec!["--what", "1"],
            vec![],
            vec!["--count", "1", "--", "x"],
        ] {
            assert!(parse(&bad.into_iter().map(String::from).collect::<Vec<_>>()).is_err());
        }
    }

    #[test]
    fn each_kernel_has_its_own_set() {
        let folder = tempfile::tempdir().unwrap();
        let asked = asked("127.9.0.2", &folder.path().join("slots"), 25_000, 2);
        let (one, first) = take(&asked).unwrap();
        let (two, second) = take(&asked).unwrap();
        assert_eq!((one, two), (0, 1));
        assert_eq!(held(&asked.slots).unwrap(), BTreeSet::from(["k".to_owned()]));
        let why = take(&asked).unwrap_err().to_string();
        assert!(why.contains("all 2 sets"), "{why}");
        drop(first);
        assert_eq!(take(&asked).unwrap().0, 0);
        drop(second);
        assert!(
            held(&asked.slots).unwrap().is_empty() && held(Path::new("/nonexistent")).unwrap().is_empty()
        );
    }

    #[test]
    fn a_set_with_a_listener_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let asked = asked("127.9.0.3", folder.path(), 25_000, 2);
        let _old = TcpListener::bind((asked.address.as_str(), ports(&asked, 0)[1])).unwrap();
        assert_eq!(take(&asked).unwrap().0, 1);
    }

    #[test]
    fn the_kernels_environment() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("python/lib")).unwrap();
        let mut asked = asked("127.9.0.4", tree.path(), 25_000, 4);
        asked.spark = tree.path().to_owned();
        let old = || {
            Environment::from([
                (TOKEN.into(), "t".into()),
                (SUBMIT.into(), "--jars a.jar pyspark-shell".into()),
            ])
        };
        assert!(environment(&asked, 2, old()).unwrap_err().to_string().contains("py4j"));
        fs::write(tree.path().join("python/lib/py4j-0.10.9.7-src.zip"), "").unwrap();
        let env = environment(&asked, 2, old()).unwrap();
        let get = |key: &str| env.get(std::ffi::OsStr::new(key)).and_then(|v| v.to_str()).map(str::to_owned);
        assert_eq!(
            get(SUBMIT).unwrap(),
            "--conf spark.driver.port=25006 --conf spark.driver.blockManager.port=25007 \
             --conf spark.ui.port=25008 --jars a.jar pyspark-shell"
        );
        assert_eq!(get(TOKEN), None);
        assert!(get("PYTHONPATH").unwrap().ends_with("/python/lib/py4j-0.10.9.7-src.zip"));
    }
}
