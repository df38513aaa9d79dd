//! A PostgreSQL of our own: Debian's binaries, a folder of its own, a free port, gone with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSTALL: &str = "these tests need PostgreSQL's server: run `bash tests/setup.sh test`, \
                       or `apt-get install postgresql`";

/// A server with its folder. Dropped, it is stopped.
pub(crate) struct PostgresServer {
    folder: tempfile::TempDir,
    port: u16,
    running: Option<Child>,
    databases: u32,
}

impl PostgresServer {
    /// Starts one; a machine that cannot is a failed test, never a skipped one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("patchbay-pg-").tempdir().expect("a folder");
        if is_root() {
            run(Command::new("chown").arg("postgres:postgres").arg(folder.path()));
        }
        let mut initdb = as_postgres(&program("initdb"));
        initdb.args(["--auth=trust", "--username=patchbay", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        run(initdb.arg("--pgdata").arg(folder.path().join("db")));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, port, running: None, databases: 0 };
        server.resume();
        server
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) {
        let mut postgres = as_postgres(&program("postgres"));
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        postgres.arg("-D").arg(self.folder.path().join("db")).arg("-p").arg(self.port.to_string());
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", &sockets]);
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running = Some(postgres.spawn().expect("postgres can be started"));
        let began = Instant::now();
        while !self.answers() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "PostgreSQL does not answer: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(program("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "patchbay"]);
        ready.status().expect("pg_isready can be run").success()
    }

    /// Stops it at once, as a power cut would: it recovers when it starts again.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// A new database.
    pub(crate) fn database(&mut self) -> String {
        self.databases += 1;
        let name = format!("patchbay{}", self.databases);
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    fn url(&self, name: &str) -> String {
        format!("postgres://patchbay@127.0.0.1:{}/{name}", self.port)
    }

    /// What a statement answers, unaligned. `url`: one that [`Self::database`] answered, or a name.
    pub(crate) fn psql(&self, url: &str, sql: &str) -> String {
        let url = if url.contains("://") { url.to_owned() } else { self.url(url) };
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]);
        let out = psql.output().expect("psql can be run");
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Everything in a database, as SQL.
    pub(crate) fn dump(&self, url: &str) -> String {
        let out = Command::new(program("pg_dump")).args(["--inserts", "-d", url]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id can be run");
    id.stdout == b"0\n"
}

/// The newest that is installed: Debian keeps each version in a folder of its own.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{name} is missing: {INSTALL}"))
}

/// PostgreSQL refuses to run as root. Whatever becomes of the test, the server ends with it.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--pdeathsig=QUIT").arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}. {INSTALL}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
