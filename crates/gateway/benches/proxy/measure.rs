//! What is measured, in which order.

use std::{thread, time::Duration};

use anyhow::Context;

use crate::{
    client::{Kind, Load},
    fleet,
    gateway::{Gateway, Setup},
    machine,
    options::{Options, Part},
    rivals::{self, Rival},
    route::{Route, Way},
    upstream::Upstream,
};

/// Until every connection is open and caches are warm.
const SETTLE: Duration = Duration::from_millis(400);
/// Until what a round leaves behind is gone: closed connections, above all.
const PAUSE: Duration = Duration::from_millis(200);
const OPEN_MAX: Duration = Duration::from_secs(20);
/// Streams that were open, and are gone, before memory is read for the first time.
const BEFORE: u32 = 8;
/// No second line comes while an idle stream is measured.
const IDLE_BEAT_MS: u32 = 3_600_000;

/// What a run leaves behind.
pub(crate) struct Evidence {
    pub(crate) rivals: Vec<String>,
    pub(crate) requests: Vec<Row>,
    pub(crate) chunks: Vec<Row>,
    pub(crate) memory: Vec<Held>,
}

/// One measurement per round.
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Of the proxy, for one answer or one chunk.
    pub(crate) processor_micros: f64,
    pub(crate) per_second: f64,
    /// How often the load read for one answer or one chunk.
    pub(crate) reads: f64,
}

pub(crate) struct Held {
    pub(crate) way: Way,
    pub(crate) bytes_per_stream: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Evidence> {
    let versions = [Way::Nginx, Way::Haproxy].map(rivals::version);
    let rivals = versions.into_iter().collect::<anyhow::Result<Vec<String>>>()?;
    let upstream = Upstream::start()?;
    let stage = Stage { options, upstream };
    let mut evidence = Evidence { rivals, requests: Vec::new(), chunks: Vec::new(), memory: Vec::new() };
    {
        let all = stage.all()?;
        if options.wants(Part::Requests) {
            evidence.requests = stage.rounds(&all.routes(), Kind::Posts)?;
        }
        if options.wants(Part::Chunks) {
            evidence.chunks = stage.rounds(&all.routes(), Kind::Stream { beat_ms: options.beat_ms })?;
        }
        all.stop()?;
    }
    if options.wants(Part::Memory) {
        for way in [Way::Nginx, Way::Haproxy, Way::Push, Way::Model] {
            evidence.memory.push(Held { way, bytes_per_stream: stage.memory(way)? });
        }
    }
    stage.upstream.stop()?;
    Ok(evidence)
}

struct Stage<'a> {
    options: &'a Options,
    upstream: Upstream,
}

/// All proxies at once. Those that are not being measured are idle.
struct All {
    rivals: Vec<Rival>,
    gateway: Gateway,
}

impl All {
    fn routes(&self) -> Vec<Route> {
        let rivals =
            self.rivals.iter().map(|rival| Route { way: rival.way(), address: rival.address(), pid: rival.pid() });
        rivals.chain([Way::Push, Way::Model].map(|way| route_of(&self.gateway, way))).collect()
    }

    fn stop(self) -> anyhow::Result<()> {
        self.rivals.into_iter().try_for_each(Rival::stop)?;
        self.gateway.stop().context("the gateway did not stop as it should")
    }
}

fn route_of(gateway: &Gateway, way: Way) -> Route {
    Route { way, address: gateway.address(), pid: gateway.pid() }
}

impl Stage<'_> {
    fn all(&self) -> anyhow::Result<All> {
        let rivals =
            [Way::Nginx, Way::Haproxy].map(|way| self.rival(way)).into_iter().collect::<anyhow::Result<_>>()?;
        Ok(All { rivals, gateway: self.gateway()? })
    }

    fn rival(&self, way: Way) -> anyhow::Result<Rival> {
        Rival::start(way, self.upstream.address(), self.options.threads, self.options.connections)
    }

    /// With its agent enrolled and its model loaded.
    fn gateway(&self) -> anyhow::Result<Gateway> {
        let Options { connections, streams, threads, .. } = self.options;
        let spec = fleet::spec(self.upstream.address(), connections.max(streams) + BEFORE)?;
        let gateway = Gateway::start(&Setup { spec, threads: *threads as usize })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fleet::enrol(gateway.link(), self.upstream.address()))?;
        let load = Load::start(&route_of(&gateway, Way::Model), Kind::Posts, 1)?;
        load.wait_for(1, OPEN_MAX)?;
        load.stop()?;
        Ok(gateway)
    }

    fn rounds(&self, routes: &[Route], kind: Kind) -> anyhow::Result<Vec<Row>> {
        let mut rows: Vec<Row> = routes.iter().map(|route| Row { way: route.way, samples: Vec::new() }).collect();
        for _ in 0..self.options.rounds {
            for (route, row) in routes.iter().zip(&mut rows) {
                let sample = self.sample(route, kind).with_context(|| format!("through {}", route.way.name()))?;
                row.samples.push(sample);
            }
        }
        Ok(rows)
    }

    fn sample(&self, route: &Route, kind: Kind) -> anyhow::Result<Sample> {
        let connections = self.options.connections;
        let load = Load::start(route, kind, connections)?;
        load.wait_for(connections, OPEN_MAX)?;
        thread::sleep(SETTLE);
        let (busy_before, before) = (machine::processor_time(route.pid)?, load.counts()?);
        let began = std::time::Instant::now();
        thread::sleep(Duration::from_secs_f64(self.options.seconds));
        let (busy, after) = (machine::processor_time(route.pid)?, load.counts()?);
        let took = began.elapsed();
        load.stop()?;
        thread::sleep(PAUSE);
        let pieces = (after.pieces - before.pieces) as f64;
        anyhow::ensure!(pieces > 0.0, "nothing came back");
        Ok(Sample {
            processor_micros: busy.saturating_sub(busy_before).as_secs_f64() * 1e6 / pieces,
            per_second: pieces / took.as_secs_f64(),
            reads: (after.reads - before.reads) as f64 / pieces,
        })
    }

    /// Of a proxy that has just begun, so that it reuses nothing that an earlier load left behind.
    fn memory(&self, way: Way) -> anyhow::Result<f64> {
        let bytes = match way {
            Way::Nginx | Way::Haproxy => {
                let rival = self.rival(way)?;
                let bytes = self.growth(&Route { way, address: rival.address(), pid: rival.pid() })?;
                rival.stop()?;
                bytes
            }
            Way::Push | Way::Model => {
                let gateway = self.gateway()?;
                let bytes = self.growth(&route_of(&gateway, way))?;
                gateway.stop()?;
                bytes
            }
        };
        Ok(bytes / f64::from(self.options.streams))
    }

    fn growth(&self, route: &Route) -> anyhow::Result<f64> {
        let open = |streams| -> anyhow::Result<(Load, u64)> {
            let load = Load::start(route, Kind::Stream { beat_ms: IDLE_BEAT_MS }, streams)?;
            load.wait_for(streams, OPEN_MAX).with_context(|| format!("through {}", route.way.name()))?;
            thread::sleep(SETTLE);
            Ok((load, machine::resident_bytes(route.pid)?))
        };
        let (load, before) = open(BEFORE)?;
        load.stop()?;
        thread::sleep(PAUSE);
        let (load, with) = open(self.options.streams)?;
        load.stop()?;
        Ok(with.saturating_sub(before) as f64)
    }
}
