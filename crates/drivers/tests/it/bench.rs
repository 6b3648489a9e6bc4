//! A process driver on a state directory of its own.

use std::{
    collections::BTreeMap,
    future::Future,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bellwether_core::{
    id::{InstanceId, Side},
    port::driver::Launch,
    time::Millis,
};
use bellwether_drivers::{
    Driver,
    linux::cgroup,
    process::{Config, ProcessDriver},
    testing::{Bench, Work},
};

pub(crate) struct ProcessBench {
    driver: Arc<ProcessDriver>,
    config: Config,
    directory: Directory,
}

/// Removed when dropped.
struct Directory(PathBuf);

impl ProcessBench {
    pub(crate) fn new(cgroups: cgroup::Use) -> Self {
        Self::with(|config| config.cgroups = cgroups)
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("bw-driver-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = Directory(std::env::temp_dir().join(name));
        let mut config = Config::new(&directory.0).expect("this program has a path");
        config.beat = Duration::from_millis(100);
        adjust(&mut config);
        let driver = Arc::new(ProcessDriver::open(config.clone()).expect("an empty state opens"));
        Self { driver, config, directory }
    }

    pub(crate) fn process_driver(&self) -> &Arc<ProcessDriver> {
        &self.driver
    }

    pub(crate) fn state(&self) -> &Path {
        &self.directory.0
    }

    pub(crate) async fn close(self) {
        let left = self.driver.stop_all(Millis::ZERO).await;
        assert!(left.is_empty(), "still running: {left:?}");
        self.driver.detach().await;
    }
}

impl Bench for ProcessBench {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }

    fn restart(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {
            self.driver.detach().await;
            self.driver = Arc::new(ProcessDriver::open(self.config.clone()).expect("its own state opens"));
        })
    }

    fn launch(&self, work: Work) -> Launch {
        match work {
            Work::UntilAsked => shell("trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done"),
            Work::Deaf => shell("trap '' TERM; echo deaf; while :; do sleep 60; done"),
            Work::Exits(code) => shell(&format!("exit {code}")),
        }
    }

    fn works(&self, instance: InstanceId) -> bool {
        let log = self.directory.0.join(format!("logs/agent.{instance}.log"));
        std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn shell(script: &str) -> Launch {
    Launch {
        agent: "agent".into(),
        side: Side::Blue,
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        address: Ipv4Addr::LOCALHOST,
        memory_limit_bytes: None,
        cpu_limit: None,
    }
}

/// Polls until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
