//! Goes on asking instances for their health after they became ready (R44). The answers go to the watch alone:
//! nothing of them is journaled unless an alarm comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bellwether_core::{
    diagnostic::chain,
    id::{AgentName, InstanceId, Side},
    watch::HealthCheck,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

use crate::{
    clock::Clock,
    probe::{Fault, Prober},
    reactor::Input,
};

const EVERY: Duration = Duration::from_secs(3);
/// Each pause differs from the one before by up to this share, so that a fleet that became ready at once is not
/// asked at once for ever.
const JITTER: f64 = 0.1;
/// Checks under way at once. Where every instance of a large fleet hangs, a round still takes a few seconds only.
const AT_ONCE_MAX: usize = 128;

/// An instance to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) instance: InstanceId,
    pub(crate) agent: AgentName,
    pub(crate) side: Side,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Health {
    asked: BTreeMap<InstanceId, AbortHandle>,
    tasks: JoinSet<()>,
    asker: Asker,
}

#[derive(Clone)]
struct Asker {
    prober: Prober,
    clock: Clock,
    at_once: Arc<Semaphore>,
    inputs: mpsc::Sender<Input>,
}

impl Health {
    pub(crate) fn new(prober: Prober, clock: Clock, inputs: mpsc::Sender<Input>) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Self { asked: BTreeMap::new(), tasks: JoinSet::new(), asker: Asker { prober, clock, at_once, inputs } }
    }

    /// From here on these are asked and no others.
    pub(crate) fn ask(&mut self, targets: impl Iterator<Item = Target>) {
        let mut wanted = BTreeSet::new();
        for target in targets {
            wanted.insert(target.instance);
            self.asked.entry(target.instance).or_insert_with(|| self.tasks.spawn(self.asker.clone().go_on(target)));
        }
        self.asked.retain(|instance, task| {
            let keep = wanted.contains(instance);
            if !keep {
                task.abort();
            }
            keep
        });
        while self.tasks.try_join_next().is_some() {}
    }

    /// An answer of any other instance came too late to say anything of it.
    pub(crate) fn asks(&self, instance: InstanceId) -> bool {
        self.asked.contains_key(&instance)
    }
}

impl Asker {
    async fn go_on(self, target: Target) {
        tokio::time::sleep(EVERY.mul_f64(fastrand::f64())).await;
        loop {
            if !self.once(&target).await {
                return;
            }
            tokio::time::sleep(EVERY.mul_f64(1.0 + JITTER * (fastrand::f64() * 2.0 - 1.0))).await;
        }
    }

    /// False once nobody listens any more.
    async fn once(&self, target: &Target) -> bool {
        let Ok(_permit) = self.at_once.acquire().await else { return false };
        let fault = match self.prober.ask(target.address).await {
            Ok(()) => None,
            Err(Fault::HeldUp) => return true,
            Err(fault) => Some(chain(&fault)),
        };
        let check = HealthCheck {
            at: self.clock.now().wall,
            instance: target.instance,
            agent: target.agent.clone(),
            side: target.side,
            fault,
        };
        self.inputs.send(Input::Health(check)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
                stream.write_all(answer).await.unwrap();
            }
        });
        address
    }

    fn target(number: u64, address: SocketAddr) -> Target {
        Target { instance: InstanceId(number), agent: format!("a{number}").as_str().into(), side: Side::Green, address }
    }

    async fn answers(inputs: &mut mpsc::Receiver<Input>, count: usize) -> BTreeMap<InstanceId, Option<String>> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let input = tokio::time::timeout(Duration::from_secs(20), inputs.recv()).await.unwrap().unwrap();
            let Input::Health(check) = input else { panic!("something else than a health check") };
            answers.insert(check.instance, check.fault);
        }
        answers
    }

    #[tokio::test]
    async fn each_instance_is_asked_and_its_fault_is_told() {
        let well = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let ill = server(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (inputs, mut received) = mpsc::channel(64);
        let mut health = Health::new(Prober::new(), Clock::start(), inputs);
        health.ask([target(1, well), target(2, ill), target(3, gone)].into_iter());
        let answers = answers(&mut received, 3).await;
        assert_eq!(answers[&InstanceId(1)], None);
        assert_eq!(answers[&InstanceId(2)].as_deref(), Some("it answered 503 Service Unavailable"));
        let refused = answers[&InstanceId(3)].as_deref().unwrap();
        assert!(refused.starts_with("no answer could be had: "), "{refused}");
    }

    #[tokio::test]
    async fn an_instance_that_is_not_ready_any_more_is_left_alone() {
        let well = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let (inputs, mut received) = mpsc::channel(64);
        let mut health = Health::new(Prober::new(), Clock::start(), inputs);
        health.ask([target(1, well), target(2, well)].into_iter());
        answers(&mut received, 2).await;
        health.ask([target(2, well)].into_iter());
        assert_eq!(health.asked.keys().collect::<Vec<_>>(), [&InstanceId(2)]);
        while received.try_recv().is_ok() {}
        assert_eq!(answers(&mut received, 1).await.keys().collect::<Vec<_>>(), [&InstanceId(2)]);
    }
}
