//! nginx and haproxy as Debian has them, each with a configuration of its own and nothing that it does not need.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::route::Way;

const START_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct Rival {
    way: Way,
    child: Child,
    address: SocketAddr,
    _home: Home,
}

/// What it says of its version. It is installed where that can be done; else the error tells what is missing.
pub(crate) fn version(way: Way) -> anyhow::Result<String> {
    let program = program(way)?;
    let asked = Command::new(program).arg("-v").output();
    let output = match asked {
        Ok(output) => output,
        Err(_missing) => {
            install(program)?;
            Command::new(program).arg("-v").output().with_context(|| format!("cannot run {program}"))?
        }
    };
    // One of them says it on one of its outputs, the other on the other.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().next().unwrap_or_default();
    let version = first.split_whitespace().find(|word| word.contains(|c: char| c.is_ascii_digit()));
    Ok(format!("{program} {}", version.unwrap_or("of unknown version").trim_start_matches("nginx/")))
}

fn program(way: Way) -> anyhow::Result<&'static str> {
    match way {
        Way::Nginx => Ok("nginx"),
        Way::Haproxy => Ok("haproxy"),
        Way::Push | Way::Model => bail!("the gateway is no rival of itself"),
    }
}

fn install(program: &str) -> anyhow::Result<()> {
    eprintln!("==> apt-get install --no-install-recommends {program}");
    let installed = Command::new("apt-get")
        .args(["install", "--yes", "--quiet", "--quiet", "--no-install-recommends", program])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    let why = match installed {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("apt-get: {status}"),
        Err(error) => format!("apt-get: {error}"),
    };
    bail!("{program} is not there and cannot be installed ({why}); there is nothing to compare with")
}

impl Rival {
    pub(crate) fn start(way: Way, upstream: SocketAddr, threads: u32, keep: u32) -> anyhow::Result<Self> {
        let program = program(way)?;
        let home = Home::new(program)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = home.0.join("config");
        let mut command = Command::new(program);
        if way == Way::Nginx {
            fs::write(&config, nginx(&home.0, address, upstream, threads, keep))?;
            command.arg("-p").arg(&home.0).arg("-c").arg(&config);
        } else {
            fs::write(&config, haproxy(address, upstream, threads))?;
            command.arg("-db").arg("-f").arg(&config);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {program}"))?;
        let mut rival = Self { way, child, address, _home: home };
        rival.wait_until_it_listens()?;
        Ok(rival)
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let name = self.way.name();
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended before it listened: {status}");
            }
            ensure!(Instant::now() < deadline, "{name} does not listen");
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// By a signal that it can act on: killed, it would leave its workers behind.
    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let name = self.way.name();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("it has no pid")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot end {name}"))?;
        let deadline = Instant::now() + END_MAX;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{name} does not end");
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Rival {
    /// After [`Rival::stop`] there is nothing left to end.
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// Its configuration and whatever it writes, removed with it.
struct Home(PathBuf);

impl Home {
    fn new(program: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bellwether-bench-{program}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Streams unbuffered, as anyone has to who puts it in front of a model server; all else as it comes.
fn nginx(home: &Path, address: SocketAddr, upstream: SocketAddr, threads: u32, keep: u32) -> String {
    let home = home.display();
    format!(
        "daemon off;
worker_processes {threads};
pid {home}/pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  keepalive_timeout 120s;
  keepalive_requests 1000000000;
  proxy_read_timeout 1h;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  upstream target {{
    server {upstream};
    keepalive {keep};
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} backlog=4096;
    location / {{ proxy_pass http://target; }}
    location /api/chat {{ proxy_pass http://target; proxy_buffering off; }}
  }}
}}
"
    )
}

fn haproxy(address: SocketAddr, upstream: SocketAddr, threads: u32) -> String {
    format!(
        "global
  nbthread {threads}
  maxconn 8192
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend all
  bind {address} backlog 4096
  use_backend streams if {{ path /api/chat }}
  default_backend requests
backend requests
  server target {upstream}
backend streams
  option http-no-delay
  server target {upstream}
"
    )
}
