//! A driver behind its link.

use bellwether_core::{
    id::{Generation, InstanceId},
    port::driver::{DriverAction, DriverAnswer, DriverCommand, DriverEvent, DriverRequest, PROTOCOL},
    time::Millis,
};
use bellwether_drivers::{host, linux::cgroup::Use, testing::Bench};
use bellwether_link::{Client, Hello};
use tokio::net::UnixListener;

use crate::bench::{ProcessBench, shell};

#[tokio::test]
async fn a_controller_commands_and_is_told() {
    let bench = ProcessBench::new(Use::Auto);
    let socket = bench.state().join("driver.sock");
    let hosting = tokio::spawn(host::serve(bench.driver(), UnixListener::bind(&socket).unwrap(), |_| {}));
    let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
    let (client, mut events) = Client::<DriverAnswer>::connect::<DriverEvent>(&socket, hello).await.unwrap();

    let DriverAnswer::Capabilities(capabilities) = client.ask(&DriverRequest::Capabilities).await.unwrap() else {
        panic!("asked for capabilities");
    };
    assert!(capabilities.freeze && capabilities.name.starts_with("process"));
    let instance = InstanceId(1);
    let ask = |action| DriverRequest::Apply(DriverCommand { instance, generation: Generation(1), action });
    let start = ask(DriverAction::Start { launch: Box::new(shell("exec sleep 60")) });
    assert_eq!(client.ask(&start).await.unwrap(), DriverAnswer::Taken);
    let DriverAnswer::Observed { instances } = client.ask(&DriverRequest::Observe).await.unwrap() else {
        panic!("asked to observe");
    };
    assert_eq!(instances.len(), 1);
    let stop = ask(DriverAction::Stop { grace: Millis::from_secs(10) });
    assert_eq!(client.ask(&stop).await.unwrap(), DriverAnswer::Taken);
    let exit = loop {
        if let DriverEvent::Exited { instance, exit } = events.recv().await.unwrap() {
            assert_eq!(instance, InstanceId(1));
            break exit;
        }
    };
    assert!(exit.asked && exit.signal == Some(15), "{exit:?}");
    hosting.abort();
    bench.close().await;
}
